//! What processes have cost so far.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

/// Linux tells all programs times in this unit, whatever its own clock is.
const TICKS_PER_SECOND: u64 = 100;

/// CPU time that a process, those it started and those it has outlived have
/// taken so far, system time included. Zero when it is gone.
///
/// **Source** `/proc/<pid>/stat`; resolution a clock tick, mostly 10 ms.
pub fn cpu_time(pid: u32) -> Duration {
    let processes: HashMap<u32, Stat> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, Stat::read(pid)?)))
        .collect();
    let is_below = |start: u32| {
        let mut at = start;
        // Deeper than any real tree, so that a race cannot make it endless.
        for _ in 0..64 {
            if at == pid {
                return true;
            }
            let Some(stat) = processes.get(&at) else { return false };
            at = stat.parent;
        }
        false
    };
    let ticks: u64 =
        processes.iter().filter(|(pid, _)| is_below(**pid)).map(|(_, stat)| stat.ticks).sum();
    Duration::from_millis(ticks.saturating_mul(1000) / TICKS_PER_SECOND)
}

/// Resident memory of one process, bytes. Zero when it is gone.
///
/// **Source** `/proc/<pid>/status`.
pub fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}

/// Memory of one process that is in no file: its heap and stacks, bytes. Zero when
/// it is gone. Pages of its program come and go with what else the machine does.
///
/// **Source** `/proc/<pid>/smaps_rollup`.
pub fn anonymous(pid: u32) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Anonymous:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}

struct Stat {
    parent: u32,
    ticks: u64,
}

impl Stat {
    fn read(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, in parentheses, may hold blanks and parentheses.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let parent = fields.get(1)?.parse().ok()?;
        // utime, stime and those of children waited for.
        let ticks = fields.get(11..15)?.iter().filter_map(|field| field.parse::<u64>().ok()).sum();
        Some(Self { parent, ticks })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_shows_in_the_time_of_its_process() {
        let own = std::process::id();
        let before = cpu_time(own);
        let spent = crate::until("CPU time to pass", Duration::from_mins(1), || {
            let mut sum = 0_u64;
            for number in 0..20_000_000_u64 {
                sum = std::hint::black_box(sum.wrapping_add(number));
            }
            let spent = cpu_time(own).saturating_sub(before);
            (spent >= Duration::from_millis(50)).then_some(spent)
        });
        assert!(spent.is_ok());
        assert_eq!(cpu_time(u32::MAX), Duration::ZERO);
        assert!(resident(own) > 1 << 20);
    }
}
