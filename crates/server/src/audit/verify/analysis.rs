//! Putting the runs of a broken trail together again.
//!
//! For the first line of each run that fits neither the line before it in the file nor what it states itself:
//!
//! 1. It fits the end of another run whose number comes before its own: it is authentic, and stands elsewhere.
//! 2. It fits the line before it once its number is set right: its number was changed.
//! 3. An authentic line has the same number: it was inserted.
//! 4. The line with the number before its own is there: it was changed.
//! 5. The lines on both sides fit each other: it was inserted.
//! 6. Otherwise the line before is missing, and the numbers tell which; whether this line was changed too cannot be known.
//!
//! Numbers no run has were removed; an authentic run after a higher number was moved.

use std::collections::{BTreeMap, HashMap};

use super::{FindingKind, Run, Walk};
use crate::audit::LineMac;
use crate::audit::format::Line;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Authentic: fits what it states, or the end of another run.
    Authentic,
    Changed(&'static str),
    Inserted(&'static str),
    /// Follows a line that is missing or cannot be read.
    Unknown,
    Unparsable,
}

impl Walk<'_> {
    pub(super) fn analyse(&mut self) {
        let links = self.links();
        let verdicts = self.verdicts(&links);
        let gaps = self.gaps(&verdicts);
        let runs = std::mem::take(&mut self.runs);
        let mut highest = 0_u64;
        for (index, (run, verdict)) in runs.iter().zip(&verdicts).enumerate() {
            let gap_before = gaps.contains_key(&run.first_seq);
            match *verdict {
                Verdict::Changed(text) => {
                    self.at(run, FindingKind::Changed, format!("number {}: {text}", run.first_seq));
                }
                Verdict::Inserted(text) => {
                    self.at(run, FindingKind::Inserted, format!("number {}: {text}", run.first_seq));
                    continue;
                }
                Verdict::Unknown if !gap_before && !follows_unreadable(&runs, run) => {
                    self.at(run, FindingKind::Changed, format!("number {}: does not verify", run.first_seq));
                }
                Verdict::Authentic if run.first_seq <= highest => {
                    self.at(
                        run,
                        FindingKind::Reordered,
                        format!(
                            "numbers {} to {} stand after number {highest}: they were moved or copied here",
                            run.first_seq, run.last_seq
                        ),
                    );
                }
                Verdict::Authentic if index > 0 && self.forks(&runs, index, &verdicts, &links) => {
                    self.at(run, FindingKind::Changed, format!(
                        "number {} is authentic, and does not follow the line before it: segments of different \
                         trails were mixed, or the trail was set back to an older copy",
                        run.first_seq
                    ));
                }
                Verdict::Authentic | Verdict::Unknown | Verdict::Unparsable => {}
            }
            if *verdict != Verdict::Unparsable {
                highest = highest.max(run.last_seq);
            }
        }
        self.report_gaps(&runs, &verdicts, &gaps);
        self.runs = runs;
        self.compare_names();
    }

    /// For each run the run whose end its first line fits.
    fn links(&self) -> Vec<Option<usize>> {
        let mut ends: HashMap<u64, Vec<usize>> = HashMap::new();
        for (index, run) in self.runs.iter().enumerate() {
            let known = ends.entry(run.last_seq).or_default();
            // Copies of one line are alike; a few are enough.
            if known.len() < 8 {
                known.push(index);
            }
        }
        self.runs
            .iter()
            .enumerate()
            .map(|(index, run)| {
                let first = run.first.as_ref()?;
                let before = ends.get(&first.seq.checked_sub(1)?)?;
                let bytes = Line::renumbered(&first.event, first.seq);
                before.iter().copied().find(|other| {
                    *other != index
                        && self.runs.get(*other).is_some_and(|other| {
                            let computed = other.computed.filter(|_| other.lines == 1);
                            let fits = |mac: LineMac| self.key.verify(&[&mac, &bytes], &first.mac);
                            other.last_mac.is_some_and(fits) || computed.is_some_and(fits)
                        })
                })
            })
            .collect()
    }

    fn verdicts(&mut self, links: &[Option<usize>]) -> Vec<Verdict> {
        let mut verdicts: Vec<Option<Verdict>> = self
            .runs
            .iter()
            .zip(links)
            .map(|(run, link)| match &run.first {
                None => Some(Verdict::Unparsable),
                Some(_) if run.renumbered => Some(Verdict::Changed("its number was changed")),
                Some(_) if run.anchored || link.is_some() => Some(Verdict::Authentic),
                Some(_) => None,
            })
            .collect();
        // Numbers of authentic lines: the later lines of every run are, whatever its first one is.
        let mut authentic: BTreeMap<u64, u64> = BTreeMap::new();
        for (run, verdict) in self.runs.iter().zip(&verdicts) {
            let first = if *verdict == Some(Verdict::Authentic) {
                Some(run.first_seq)
            } else {
                run.first_seq.checked_add(1)
            };
            if let Some(first) = first.filter(|first| *first <= run.last_seq) {
                let last = authentic.entry(first).or_insert(run.last_seq);
                *last = (*last).max(run.last_seq);
            }
        }
        let is_authentic = |seq: u64| authentic.range(..=seq).rev().take(64).any(|(_, last)| *last >= seq);
        let ends: HashMap<u64, bool> =
            self.runs.iter().map(|run| (run.last_seq, run.last_mac.is_some())).collect();
        for index in 0..verdicts.len() {
            if verdicts.get(index).is_none_or(Option::is_some) {
                continue;
            }
            let before = index.checked_sub(1).and_then(|before| self.runs.get(before));
            let place = before.map_or_else(
                || self.segments.first().map_or(1, |segment| segment.first_seq),
                |before| before.last_seq.saturating_add(1),
            );
            let before_mac = before.and_then(|before| before.last_mac);
            let neighbours_fit = index
                .checked_sub(1)
                .is_some_and(|before| links.get(index.saturating_add(1)) == Some(&Some(before)));
            let Some(run) = self.runs.get_mut(index) else { continue };
            let Some(first) = &run.first else { continue };
            let renumbered = place != first.seq && {
                let bytes = Line::renumbered(&first.event, place);
                let stated = Line { authenticated: &bytes, event: &first.event, seq: place, mac: first.mac }
                    .start()
                    .filter(|_| first.states_previous)
                    .map(|(previous, _)| previous);
                stated.or(before_mac).is_some_and(|mac| self.key.verify(&[&mac, &bytes], &first.mac))
            };
            let verdict = if renumbered {
                run.first_seq = place;
                if run.lines == 1 {
                    run.last_seq = place;
                }
                Verdict::Changed("its number was changed")
            } else if is_authentic(first.seq) {
                Verdict::Inserted("another line that verifies has this number; this one was inserted")
            } else if neighbours_fit && run.lines == 1 {
                Verdict::Inserted("the lines before and after it belong together; this one was inserted")
            } else if first.states_previous || ends.get(&run.first_seq.saturating_sub(1)) == Some(&true) {
                Verdict::Changed("the line was changed")
            } else {
                Verdict::Unknown
            };
            if let Some(slot) = verdicts.get_mut(index) {
                *slot = Some(verdict);
            }
        }
        verdicts.into_iter().map(|verdict| verdict.unwrap_or(Verdict::Unknown)).collect()
    }

    /// Missing numbers: the number after the gap, and the first that is missing.
    fn gaps(&self, verdicts: &[Verdict]) -> BTreeMap<u64, u64> {
        let mut present: Vec<(u64, u64)> = self
            .runs
            .iter()
            .zip(verdicts)
            .filter(|(_, verdict)| !matches!(verdict, Verdict::Inserted(_)))
            .map(|(run, _)| (run.first_seq, run.last_seq))
            .collect();
        present.sort_unstable();
        let mut next = self.expected.first_seq;
        let mut gaps = BTreeMap::new();
        for (first, last) in present {
            if first > next {
                gaps.insert(first, next);
            }
            next = next.max(last.saturating_add(1));
        }
        gaps
    }

    fn report_gaps(&mut self, runs: &[Run], verdicts: &[Verdict], gaps: &BTreeMap<u64, u64>) {
        for (after, first) in gaps {
            let Some((run, verdict)) = runs
                .iter()
                .zip(verdicts)
                .find(|(run, verdict)| run.first_seq == *after && !matches!(verdict, Verdict::Inserted(_)))
            else {
                continue;
            };
            let last = after.saturating_sub(1);
            let numbers = if *first == last {
                format!("number {first} is missing")
            } else {
                format!("numbers {first} to {last} are missing")
            };
            let (kind, cause) = if run.starts_segment && run.segment == 0 {
                (
                    FindingKind::MissingSegment,
                    ": older segments were archived or removed; if they were archived, name the number the trail \
                     begins with",
                )
            } else if run.starts_segment {
                (
                    FindingKind::MissingSegment,
                    ": a segment was removed, or lines at the end of the one before",
                )
            } else {
                (FindingKind::Removed, "")
            };
            let doubt = if *verdict == Verdict::Unknown {
                format!("; whether number {after}, which follows, was changed as well cannot be told")
            } else {
                String::new()
            };
            self.find(run.segment, run.line_number, Some(*first), kind, format!("{numbers}{cause}{doubt}"));
        }
    }

    /// Whether an authentic run has the right number at its place and yet does not follow an authentic line before it.
    fn forks(&self, runs: &[Run], index: usize, verdicts: &[Verdict], links: &[Option<usize>]) -> bool {
        let Some((before, run)) = index.checked_sub(1).and_then(|at| Some((runs.get(at)?, runs.get(index)?)))
        else {
            return false;
        };
        let before_is_good = before.lines > 1
            || index.checked_sub(1).and_then(|at| verdicts.get(at)) == Some(&Verdict::Authentic);
        before.last_seq.checked_add(1) == Some(run.first_seq)
            && links.get(index) == Some(&None)
            && before_is_good
    }

    fn at(&mut self, run: &Run, kind: FindingKind, text: String) {
        self.find(run.segment, run.line_number, Some(run.first_seq), kind, text);
    }

    /// A segment under another's name, where nothing else is wrong with it.
    fn compare_names(&mut self) {
        for (index, first_seq) in std::mem::take(&mut self.misnamed) {
            let Some(segment) = self.segments.get(index) else { continue };
            let (name, named) = (segment.name(), segment.first_seq);
            if !self.findings.iter().any(|finding| finding.segment == name) {
                self.find(
                    index,
                    1,
                    Some(first_seq),
                    FindingKind::Changed,
                    format!("the file begins with number {first_seq}, its name says {named}: it was renamed"),
                );
            }
        }
    }
}

fn follows_unreadable(runs: &[Run], run: &Run) -> bool {
    runs.iter().any(|other| other.first.is_none() && other.last_seq.checked_add(1) == Some(run.first_seq))
}
