//! CPU time by process, from `/proc`.

use std::fs;

/// The unit of `/proc`'s CPU times, the same on every machine that Rust runs Linux on.
const TICKS_A_SECOND: f64 = 100.0;

/// What a process has used, in seconds; zero when it is gone.
pub(crate) fn of(pid: u32) -> f64 {
    Stat::of(pid).map_or(0.0, |stat| stat.seconds)
}

/// What a process and its children have used, in seconds.
pub(crate) fn of_family(pid: u32) -> f64 {
    let Ok(processes) = fs::read_dir("/proc") else { return 0.0 };
    let stats = processes.filter_map(|entry| {
        let member = entry.ok()?.file_name().to_str()?.parse().ok()?;
        Some((member, Stat::of(member)?))
    });
    stats.filter(|(member, stat)| *member == pid || stat.parent == pid).map(|(_, stat)| stat.seconds).sum()
}

/// What all processes of the machine have used, in seconds.
pub(crate) fn of_all() -> f64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields = stat.lines().next().unwrap_or_default().split_whitespace().skip(1);
    let ticks: Vec<u32> = fields.map(|field| field.parse().unwrap_or(0)).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal
    let busy = [0, 1, 2, 5, 6, 7].into_iter().filter_map(|i| ticks.get(i));
    busy.copied().map(f64::from).sum::<f64>() / TICKS_A_SECOND
}

/// Resident memory of a process, in MiB.
pub(crate) fn resident_mib(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}

struct Stat {
    parent: u32,
    seconds: f64,
}

impl Stat {
    fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name may hold anything, a parenthesis included; what follows it does not.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = |i: usize| fields.get(i)?.parse::<f64>().ok();
        let seconds = (ticks(11)? + ticks(12)?) / TICKS_A_SECOND;
        Some(Self { parent: fields.get(1)?.parse().ok()?, seconds })
    }
}
