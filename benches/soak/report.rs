//! What came of a soak, to be read by people, and whether it was all as promised.

use std::fmt;
use std::time::Duration;

use crate::fleet::{Chronicle, Fate};
use crate::ledger::{Balance, Sum};
use crate::process::Usage;

pub struct Report {
    pub calls: u64,
    pub took: Duration,
    pub warm_up: Duration,
    pub balance: Balance,
    pub panics: Vec<String>,
    pub fleet: Vec<String>,
    pub chronicles: Vec<Chronicle>,
}

impl Report {
    pub fn is_good(&self) -> bool {
        self.balance.violated == 0
            && self.panics.is_empty()
            && self.fleet.is_empty()
            && self.lost_without_a_kill().is_empty()
            // Else it proved nothing.
            && self.balance.once.told_done > 0
            && self.balance.idempotent.told_done > 0
    }

    /// Only a gateway that was killed may break a connection under a call.
    fn lost_without_a_kill(&self) -> Vec<String> {
        let lost = self.balance.lost.iter();
        let unforced = lost.filter(|(number, _)| self.chronicles[**number].fate != Fate::Killed);
        unforced
            .map(|(number, causes)| format!("gateway {number} was not killed, and lost {causes:?}"))
            .collect()
    }

    fn write_lives(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "gateway: end, drain; memory KiB, handles, threads: first, most, last"
        )?;
        for (number, life) in self.chronicles.iter().enumerate() {
            let lost = self.balance.lost.get(&number).map_or(0, Vec::len);
            let (Some((_, first)), Some((age, last))) = (life.samples.first(), life.samples.last())
            else {
                continue;
            };
            let most = |of: fn(&Usage) -> u64| {
                let usages = life.samples.iter().map(|(_, usage)| of(usage));
                usages.max().unwrap_or(0)
            };
            writeln!(
                f,
                "{number:>3} {:?} after {} s, drain {:.1?}, connections lost {lost}; \
                 {} {} {}, {} {} {}, {} {} {}",
                life.fate,
                age.as_secs(),
                life.drain.unwrap_or_default(),
                first.memory,
                most(|it| it.memory),
                last.memory,
                first.handles,
                most(|it| it.handles as u64),
                last.handles,
                first.threads,
                most(|it| it.threads as u64),
                last.threads,
            )?;
            self.write_growth(f, life)?;
        }
        Ok(())
    }

    /// Of lives that lasted: a line through what memory was, once it was warm.
    fn write_growth(&self, f: &mut fmt::Formatter<'_>, life: &Chronicle) -> fmt::Result {
        let warm: Vec<(f64, f64)> = life
            .samples
            .iter()
            .filter(|(age, _)| *age >= self.warm_up)
            .map(|(age, usage)| (age.as_secs_f64(), usage.memory as f64))
            .collect();
        if warm.len() < 120 {
            return Ok(());
        }
        writeln!(
            f,
            "    memory after the first {} s: {:+.0} KiB in a minute over {} s",
            self.warm_up.as_secs(),
            slope(&warm) * 60.0,
            warm.len(),
        )?;
        let minutes = warm.chunks(60).map(|minute| {
            let sum: f64 = minute.iter().map(|(_, memory)| memory).sum();
            format!("{:.0}", sum / minute.len() as f64)
        });
        writeln!(
            f,
            "    its mean by the minute: {}",
            minutes.collect::<Vec<_>>().join(" ")
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Balance {
            heard,
            unsent,
            violated,
            violations,
            once,
            idempotent,
            ..
        } = &self.balance;
        let seconds = self.took.as_secs_f64();
        let rate = self.calls as f64 / seconds;
        writeln!(
            f,
            "{} calls in {seconds:.0} s, {rate:.0} in a second",
            self.calls
        )?;
        for ((rpc, what), times) in heard {
            writeln!(f, "  {rpc:<20} {what:<40} {times:>8}")?;
        }
        writeln!(f, "refused unsent, and sent again by the client: {unsent}")?;
        write_sum(f, "writes not to be done twice", *once)?;
        write_sum(f, "idempotent writes of user data", *idempotent)?;
        self.write_lives(f)?;
        writeln!(f, "violations: {violated}")?;
        let stories = violations.iter().chain(&self.panics).chain(&self.fleet);
        for story in stories {
            writeln!(f, "  {story}")?;
        }
        for story in self.lost_without_a_kill() {
            writeln!(f, "  {story}")?;
        }
        writeln!(
            f,
            "{}",
            if self.is_good() {
                "as promised"
            } else {
                "NOT AS PROMISED"
            }
        )
    }
}

fn write_sum(f: &mut fmt::Formatter<'_>, name: &str, sum: Sum) -> fmt::Result {
    writeln!(
        f,
        "{name}: {} in all, {} told done, {} told unknown (of which the vendor holds {}), \
         the vendor holds {}",
        sum.writes, sum.told_done, sum.told_unknown, sum.unknown_and_held, sum.held
    )
}

/// By least squares.
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|it| it.0), mean(|it| it.1));
    let over: f64 = points.iter().map(|it| (it.0 - x) * (it.1 - y)).sum();
    let under: f64 = points.iter().map(|it| (it.0 - x).powi(2)).sum();
    over / under
}
