//! The `log` section.

use tracing::level_filters::LevelFilter;

use crate::settings::{
    Section,
    yaml::{self, Node},
};
use crate::telemetry::{Format, Options};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    pub level: LevelFilter,
    pub format: Format,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: LevelFilter::INFO,
            format: Format::Auto,
        }
    }
}

impl Log {
    const LEVELS: [(&'static str, LevelFilter); 6] = [
        ("off", LevelFilter::OFF),
        ("error", LevelFilter::ERROR),
        ("warn", LevelFilter::WARN),
        ("info", LevelFilter::INFO),
        ("debug", LevelFilter::DEBUG),
        ("trace", LevelFilter::TRACE),
    ];

    const FORMATS: [(&'static str, Format); 3] = [
        ("auto", Format::Auto),
        ("text", Format::Text),
        ("json", Format::Json),
    ];

    /// The same in the telemetry's terms.
    pub fn options(&self) -> Options {
        Options {
            level: self.level.to_string(),
            format: self.format,
            audit: true,
        }
    }

    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let default = Self::default();
        Self {
            level: section.one_of("level", default.level, &Self::LEVELS),
            format: section.one_of("format", default.format, &Self::FORMATS),
        }
    }

    pub(super) fn to_yaml(&self) -> Node {
        let names = Self::FORMATS.iter();
        let format = names.clone().find(|(_, it)| *it == self.format);
        yaml::map([
            ("level", Node::Text(self.level.to_string())),
            (
                "format",
                format.map_or(Node::Null, |(name, _)| (*name).into()),
            ),
        ])
    }
}
