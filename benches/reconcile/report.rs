//! What came of it: medians, ratios, goals.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use crate::contender::{Contender, Turn};
use crate::scene::Drift;

/// All turns.
pub(crate) struct Report {
    rows: u32,
    turns: Vec<(Contender, Vec<Turn>)>,
    peak_at_three_times: Option<u64>,
}

/// What is aimed at.
struct Goal {
    text: &'static str,
    reached: f64,
    aim: f64,
    at_least: bool,
}

impl Goal {
    fn is_met(&self) -> bool {
        if self.at_least { self.reached >= self.aim } else { self.reached <= self.aim }
    }
}

impl Report {
    pub(crate) fn new(rows: u32) -> Self {
        Self { rows, turns: Vec::new(), peak_at_three_times: None }
    }

    pub(crate) fn add(&mut self, contender: Contender, turn: Turn) {
        match self.turns.iter_mut().find(|(of, _)| *of == contender) {
            Some((_, turns)) => turns.push(turn),
            None => self.turns.push((contender, vec![turn])),
        }
    }

    pub(crate) fn peak_at_three_times(&mut self, peak_kib: Option<u64>) {
        self.peak_at_three_times = peak_kib;
    }

    fn turns(&self, contender: Contender) -> &[Turn] {
        self.turns.iter().find(|(of, _)| *of == contender).map_or(&[], |(_, turns)| turns)
    }

    /// The median time of a contender's turns, in seconds.
    fn seconds(&self, contender: Contender) -> Option<f64> {
        let mut times: Vec<Duration> = self.turns(contender).iter().map(|turn| turn.time).collect();
        times.sort_unstable();
        let (low, high) = (times.len().checked_sub(1)? / 2, times.len() / 2);
        Some(f64::midpoint(times[low].as_secs_f64(), times[high].as_secs_f64()))
    }

    fn most<T: Ord + Copy>(&self, contender: Contender, of: fn(&Turn) -> Option<T>) -> Option<T> {
        self.turns(contender).iter().filter_map(of).max()
    }

    /// What the source of a comparison without drift sends, in bytes per row.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    fn bytes_a_row(&self) -> Option<f64> {
        let sent = self.most(Contender::Accord(Drift::None), |turn| turn.source_bytes)?;
        Some(sent as f64 / f64::from(self.rows))
    }

    /// Those goals whose figures were measured.
    fn goals(&self) -> Vec<Goal> {
        use Contender::{Accord, Reladiff, Touch};
        let ratio = |a, b| Some(self.seconds(a)? / self.seconds(b)?);
        let wrong = Drift::ALL.map(|drift| {
            let of = |of: fn(&Turn) -> Option<usize>| self.most(Accord(drift), of).unwrap_or_default();
            of(|turn| turn.missed) + of(|turn| turn.invented)
        });
        let wrong = u32::try_from(wrong.iter().sum::<usize>()).ok().map(f64::from);
        let goals = [
            ("accord without drift : touching scan", ratio(Accord(Drift::None), Touch), 2.6, false),
            ("accord at 0.1 % : touching scan", ratio(Accord(Drift::Tenth), Touch), 3.0, false),
            (
                "reladiff : accord, without drift",
                ratio(Reladiff(Drift::None), Accord(Drift::None)),
                3.0,
                true,
            ),
            ("reladiff : accord, at 0.1 %", ratio(Reladiff(Drift::Tenth), Accord(Drift::Tenth)), 10.0, true),
            ("rows missed or invented by accord", wrong, 0.0, false),
            ("MB from a clean source, a million rows", self.bytes_a_row(), 0.6, false),
        ];
        let measured = goals.into_iter().filter_map(|(text, reached, aim, at_least)| {
            Some(Goal { text, reached: reached?, aim, at_least })
        });
        measured.collect()
    }

    /// Everything, as it is kept.
    pub(crate) fn json(&self) -> serde_json::Result<String> {
        let contenders = self.turns.iter().map(|(contender, turns)| {
            json!({
                "contender": contender.to_string(),
                "median_s": self.seconds(*contender).map(thousandths),
                "each_s": turns.iter().map(|turn| thousandths(turn.time.as_secs_f64())).collect::<Vec<_>>(),
                "missed": self.most(*contender, |turn| turn.missed),
                "invented": self.most(*contender, |turn| turn.invented),
                "source_bytes": self.most(*contender, |turn| turn.source_bytes),
                "peak_kib": self.most(*contender, |turn| turn.peak_kib),
            })
        });
        let goals = self.goals();
        let goals = goals.iter().map(|goal| {
            json!({"goal": goal.text, "reached": thousandths(goal.reached), "aim": goal.aim, "met": goal.is_met()})
        });
        serde_json::to_string_pretty(&json!({
            "rows": self.rows,
            "contenders": contenders.collect::<Vec<Value>>(),
            "peak_kib_at_three_times_the_rows": self.peak_at_three_times,
            "goals": goals.collect::<Vec<Value>>(),
        }))
    }
}

fn thousandths(figure: f64) -> f64 {
    (figure * 1e3).round() / 1e3
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n{} rows a side, no parallel workers, no grace period; medians\n", self.rows)?;
        writeln!(
            f,
            "{:<42}{:>9}{:>9}{:>9}{:>8}{:>9}",
            "", "seconds", "× count", "× touch", "missed", "invented"
        )?;
        for (contender, _) in &self.turns {
            let seconds = self.seconds(*contender).unwrap_or_default();
            let times = |of| self.seconds(of).map_or(0.0, |base| seconds / base);
            write!(f, "{:<42}{seconds:>9.3}", contender.to_string())?;
            write!(f, "{:>9.2}{:>9.2}", times(Contender::Count), times(Contender::Touch))?;
            let shown = |figure: Option<usize>| figure.map_or_else(|| "–".to_owned(), |n| n.to_string());
            let missed = shown(self.most(*contender, |turn| turn.missed));
            let invented = shown(self.most(*contender, |turn| turn.invented));
            writeln!(f, "{missed:>8}{invented:>9}")?;
        }
        let peak = self.most(Contender::Accord(Drift::None), |turn| turn.peak_kib).unwrap_or_default();
        let three = self.peak_at_three_times.unwrap_or_default();
        writeln!(f, "\npeak memory of accord diff: {peak} KiB; with three times the rows {three} KiB\n")?;
        for goal in self.goals() {
            let verdict = if goal.is_met() { "ok" } else { "missed" };
            let sign = if goal.at_least { "≥" } else { "≤" };
            writeln!(f, "{:<42}{:>9.2}   goal {sign} {:<5}{verdict}", goal.text, goal.reached, goal.aim)?;
        }
        Ok(())
    }
}
