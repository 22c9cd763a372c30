//! What a file of settings may grow to: looked at event by event, before anything is built of it.
//!
//! Aliases of lists of aliases make gigabytes of a few lines, and whoever builds values goes down the
//! stack for every level that they are nested.

use std::collections::HashMap;

use yaml_rust2::parser::{Event, Parser};

/// Settings have four levels.
pub(super) const DEEPEST: usize = 32;

/// In bytes, and one for each value. A file of the greatest size has less by itself.
const LARGEST: usize = 2 << 20;

/// A list or mapping that has begun.
struct Open {
    anchor: usize,
    /// How much there was before it.
    before: usize,
    levels: usize,
}

/// Whatever is no YAML passes: who builds values of it says what is wrong.
pub(super) fn check(text: &str) -> Result<(), String> {
    let mut parser = Parser::new_from_str(text);
    let mut open: Vec<Open> = Vec::new();
    // What an alias stands for: how much, and of how many levels.
    let mut anchored: HashMap<usize, (usize, usize)> = HashMap::new();
    let mut total = 0;
    while let Ok((event, _)) = parser.next_token() {
        let mut before = total;
        let (anchor, levels) = match event {
            Event::SequenceStart(anchor, _) | Event::MappingStart(anchor, _) => {
                total += 1;
                open.push(Open {
                    anchor,
                    before,
                    levels: 1,
                });
                (0, 0)
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(ended) => {
                    before = ended.before;
                    (ended.anchor, ended.levels)
                }
                None => break,
            },
            Event::Scalar(text, _, anchor, _) => {
                total += 1 + text.len();
                (anchor, 0)
            }
            Event::Alias(anchor) => {
                let (size, levels) = anchored.get(&anchor).copied().unwrap_or_default();
                total += size;
                (0, levels)
            }
            Event::StreamEnd => break,
            _ => (0, 0),
        };
        if open.len() + levels > DEEPEST {
            return Err(format!("is nested more than {DEEPEST} levels deep"));
        }
        if let Some(outer) = open.last_mut() {
            outer.levels = outer.levels.max(levels + 1);
        }
        // It is kept for its aliases, beside where it stands.
        if anchor > 0 {
            let size = total - before;
            anchored.insert(anchor, (size, levels));
            total += size;
        }
        if total > LARGEST {
            return Err("is longer than 2 MiB with its aliases written out".to_owned());
        }
    }
    Ok(())
}
