//! Entrances for `benches/layers`: the parts that a call is made of, each to be run alone, with
//! no network. Built with the feature `benchmarks` only.

use crate::{upstream, vendors};

/// One part, ready to be run again and again.
pub struct Part {
    pub name: &'static str,
    pub run: Box<dyn FnMut()>,
}

impl Part {
    pub(crate) fn new<T>(name: &'static str, mut run: impl FnMut() -> T + 'static) -> Self {
        let run = Box::new(move || {
            std::hint::black_box(run());
        });
        Part { name, run }
    }
}

/// All of them; every name is there once.
#[must_use]
pub fn parts() -> Vec<Part> {
    let mut parts = upstream::benchmarks::parts();
    parts.extend(vendors::genesys::benchmarks::parts());
    parts.extend(vendors::aicc::benchmarks::parts());
    parts
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    /// A part that could not do its work would be measured as a fast one.
    #[test]
    fn every_part_runs_and_has_a_name_of_its_own() {
        let mut names = HashSet::new();
        for mut part in super::parts() {
            (part.run)();
            (part.run)();
            assert!(names.insert(part.name), "{} is there twice", part.name);
        }
        assert!(names.len() >= 20, "{names:?}");
    }
}
