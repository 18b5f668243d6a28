//! What came of it: medians, ratios, goals.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use crate::contender::{CONNECTIONS, Contender, Run};
use crate::scene::Cpu;
use crate::tally::Tally;

/// One turn's figures, or their medians.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    changes_per_s: f64,
    p50_ms: f64,
    p99_ms: f64,
    /// CPU time of server, driver and Postgres, in microseconds a change.
    server_us: f64,
    driver_us: f64,
    postgres_us: f64,
    /// What a sync took shortly before.
    sync_ms: f64,
    /// How many cores others kept busy meanwhile.
    others: f64,
    applied_percent: f64,
    mean_batch: Option<f64>,
}

impl Turn {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    pub(crate) fn new(tally: &Tally, before: Cpu, after: Cpu, mean_batch: Option<f64>, sync_ms: f64) -> Self {
        let a_change = |of: fn(&Cpu) -> f64| (of(&after) - of(&before)) * 1e6 / tally.changes.max(1) as f64;
        let ours = |cpu: &Cpu| cpu.server + cpu.driver + cpu.postgres;
        let others = (after.machine - ours(&after)) - (before.machine - ours(&before));
        Self {
            changes_per_s: tally.changes as f64 / tally.seconds,
            p50_ms: tally.p50_ms,
            p99_ms: tally.p99_ms,
            server_us: a_change(|cpu| cpu.server),
            driver_us: a_change(|cpu| cpu.driver),
            postgres_us: a_change(|cpu| cpu.postgres),
            sync_ms,
            others: others.max(0.0) / (after.at - before.at).as_secs_f64(),
            applied_percent: 100.0 * tally.applied as f64 / tally.acknowledged.max(1) as f64,
            mean_batch,
        }
    }

    /// Figure by figure the median.
    fn median(turns: &[Self]) -> Self {
        let median = |of: fn(&Self) -> f64| {
            let mut figures: Vec<f64> = turns.iter().map(of).collect();
            figures.sort_by(f64::total_cmp);
            let (low, high) = (figures.len().saturating_sub(1) / 2, figures.len() / 2);
            f64::midpoint(figures[low], figures[high])
        };
        Self {
            changes_per_s: median(|turn| turn.changes_per_s),
            p50_ms: median(|turn| turn.p50_ms),
            p99_ms: median(|turn| turn.p99_ms),
            server_us: median(|turn| turn.server_us),
            driver_us: median(|turn| turn.driver_us),
            postgres_us: median(|turn| turn.postgres_us),
            sync_ms: median(|turn| turn.sync_ms),
            others: median(|turn| turn.others),
            applied_percent: median(|turn| turn.applied_percent),
            mean_batch: turns[0].mean_batch.map(|_| median(|turn| turn.mean_batch.unwrap_or(0.0))),
        }
    }

    fn json(&self) -> Value {
        json!({
            "changes_per_s": self.changes_per_s.round(),
            "p50_ms": thousandths(self.p50_ms),
            "p99_ms": thousandths(self.p99_ms),
            "server_cpu_us_per_change": thousandths(self.server_us),
            "driver_cpu_us_per_change": thousandths(self.driver_us),
            "postgres_cpu_us_per_change": thousandths(self.postgres_us),
            "sync_ms": thousandths(self.sync_ms),
            "cores_used_by_others": thousandths(self.others),
            "applied_percent": thousandths(self.applied_percent),
            "mean_batch": self.mean_batch.map(thousandths),
        })
    }
}

fn thousandths(figure: f64) -> f64 {
    (figure * 1e3).round() / 1e3
}

/// What `accord serve` takes before it does anything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Footprint {
    pub(crate) ready_after: Duration,
    pub(crate) resident_mib: f64,
}

impl fmt::Display for Footprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ready_after = self.ready_after.as_millis();
        write!(
            f,
            "accord serve: ready {ready_after} ms after its start, idle in {:.1} MiB",
            self.resident_mib
        )
    }
}

/// All turns.
pub(crate) struct Report {
    footprint: Footprint,
    /// In the order in which they were first measured.
    turns: Vec<(Run, Vec<Turn>)>,
}

/// What is aimed at.
struct Goal {
    text: String,
    reached: f64,
    aim: f64,
}

impl Report {
    pub(crate) fn new(footprint: Footprint) -> Self {
        Self { footprint, turns: Vec::new() }
    }

    pub(crate) fn add(&mut self, run: Run, turn: Turn) {
        match self.turns.iter_mut().find(|(of, _)| *of == run) {
            Some((_, turns)) => turns.push(turn),
            None => self.turns.push((run, vec![turn])),
        }
    }

    fn median(&self, run: Run) -> Option<Turn> {
        let (_, turns) = self.turns.iter().find(|(of, _)| *of == run)?;
        Some(Turn::median(turns))
    }

    /// The medians of all turns, for what does not depend on who had it.
    fn all(&self) -> Option<Turn> {
        let turns: Vec<Turn> = self.turns.iter().flat_map(|(_, turns)| turns).copied().collect();
        (!turns.is_empty()).then(|| Turn::median(&turns))
    }

    fn of(&self, contender: Contender, connections: usize) -> Option<Turn> {
        self.median(Run { contender, connections })
    }

    fn batches(&self, contender: Contender) -> Option<Turn> {
        self.of(contender, contender.batch_clients())
    }

    /// Those goals whose figures were measured.
    fn goals(&self) -> Vec<Goal> {
        use Contender::{Apply, Batch, NoDatabase, PerRequest, PostgresOnly};
        let speed = |turn: Option<Turn>| turn.map(|turn| turn.changes_per_s);
        let p99 = |turn: Option<Turn>| turn.map(|turn| turn.p99_ms);
        let mut goals = Vec::new();
        let mut goal = |text: String, a: Option<f64>, b: Option<f64>, aim: f64| {
            goals.extend(a.zip(b).map(|(a, b)| Goal { text, reached: a / b, aim }));
        };
        for (connections, aim) in CONNECTIONS.into_iter().zip([2.5, 3.0]) {
            let [apply, plain] = [Apply, PerRequest].map(|contender| self.of(contender, connections));
            goal(format!("changes/s, c : b at {connections}"), speed(apply), speed(plain), aim);
        }
        let [apply, silent] = [Apply, NoDatabase].map(|contender| self.of(contender, 256));
        goal("changes/s, c : a at 256".to_owned(), speed(apply), speed(silent), 0.4);
        for connections in CONNECTIONS {
            let [apply, plain] = [Apply, PerRequest].map(|contender| self.of(contender, connections));
            goal(format!("p99, b : c at {connections}"), p99(plain), p99(apply), 1.0);
        }
        let [batch, floor] = [Batch, PostgresOnly].map(|contender| self.batches(contender));
        goal("changes/s in batches of 500, c : e".to_owned(), speed(batch), speed(floor), 0.6);
        goals
    }

    /// Everything, as it is kept.
    pub(crate) fn json(&self) -> serde_json::Result<String> {
        let speed = |turn: Option<Turn>| turn.map(|turn| turn.changes_per_s.round());
        let p99 = |turn: Option<Turn>| turn.map(|turn| thousandths(turn.p99_ms));
        let mut kept = json!({
            "batch_changes_per_s": speed(self.batches(Contender::Batch)),
            "postgres_only_changes_per_s": speed(self.batches(Contender::PostgresOnly)),
            "sync_ms": self.all().map(|all| thousandths(all.sync_ms)),
            "start_to_ready_ms": self.footprint.ready_after.as_millis(),
            "idle_resident_mib": thousandths(self.footprint.resident_mib),
            "turns": self.turns.iter().map(|(run, turns)| json!({
                "run": run.to_string(),
                "median": Turn::median(turns).json(),
                "each": turns.iter().map(Turn::json).collect::<Vec<_>>(),
            })).collect::<Vec<_>>(),
        });
        for connections in CONNECTIONS {
            let of = |contender| self.of(contender, connections);
            kept[format!("c{connections}")] = json!({
                "no_database_rps": speed(of(Contender::NoDatabase)),
                "per_request_rps": speed(of(Contender::PerRequest)),
                "accord_rps": speed(of(Contender::Apply)),
                "refetch_rps": speed(of(Contender::Refetch)),
                "per_request_p99_ms": p99(of(Contender::PerRequest)),
                "accord_p99_ms": p99(of(Contender::Apply)),
            });
        }
        serde_json::to_string_pretty(&kept)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(all) = self.all() {
            writeln!(f, "fsync is on, and takes {:.2} ms (median)", all.sync_ms)?;
        }
        writeln!(f, "{}", self.footprint)?;
        let mut connections = None;
        for (run, turns) in &self.turns {
            if connections.replace(run.connections) != Some(run.connections) {
                heading(f, *run)?;
            }
            line(f, *run, &Turn::median(turns))?;
        }
        writeln!(
            f,
            "\nsync: what one took just before, in ms; others: cores that the rest of the machine kept busy\n"
        )?;
        for Goal { text, reached, aim } in self.goals() {
            let verdict = if reached >= aim { "ok" } else { "missed" };
            writeln!(f, "{text:<36}{reached:>7.2}   goal {aim:.1}   {verdict}")?;
        }
        Ok(())
    }
}

fn heading(f: &mut fmt::Formatter<'_>, run: Run) -> fmt::Result {
    let of = if run.contender.changes_a_request() == 1 { "" } else { ", batches of 500" };
    let who = format!("{} connection{}{of}", run.connections, if run.connections == 1 { "" } else { "s" });
    writeln!(f, "\n{:60}CPU µs a change", "")?;
    writeln!(
        f,
        "{who:<34}{:>9}{:>8}{:>8}{:>8}{:>8}{:>9}{:>7}{:>9}{:>7}{:>7}",
        "changes/s", "p50 ms", "p99 ms", "server", "driver", "Postgres", "batch", "applied", "sync", "others"
    )
}

fn line(f: &mut fmt::Formatter<'_>, run: Run, turn: &Turn) -> fmt::Result {
    write!(f, "{:<34}", run.contender.to_string())?;
    write!(f, "{:>9.0}{:>8.2}{:>8.2}", turn.changes_per_s, turn.p50_ms, turn.p99_ms)?;
    write!(f, "{:>8.1}{:>8.1}{:>9.1}", turn.server_us, turn.driver_us, turn.postgres_us)?;
    let batch = turn.mean_batch.map_or("–".to_owned(), |mean| format!("{mean:.0}"));
    writeln!(f, "{batch:>7}{:>8.1}%{:>7.2}{:>7.2}", turn.applied_percent, turn.sync_ms, turn.others)
}
