//! The result table, in Markdown, and the verdict.

use std::fmt::Write;

use crate::account::{Account, Blame, Finding, Kind};
use crate::peers::Place;

/// Lines of findings that are not ours.
const SHOWN: usize = 5;

pub struct Row {
    pub peer: &'static str,
    pub version: String,
    pub scenario: &'static str,
    /// The side that this crate plays, if it plays one.
    pub ours: Option<Blame>,
    pub account: Option<Account>,
    /// Why the scenario did not come to its end.
    pub failed: Option<String>,
}

impl Row {
    pub fn is_good(&self) -> bool {
        let clean = |account: &Account| account.findings.iter().all(|finding| !self.is_ours(finding));
        self.failed.is_none() && self.account.as_ref().is_some_and(clean)
    }

    /// As a line of the table.
    pub fn line(&self) -> String {
        let role = match self.ours {
            Some(Blame::Client) => "client",
            Some(_) => "server",
            None => "none",
        };
        let mut line = format!("| {} | {} | {role} | {} |", self.peer, self.version, self.scenario);
        if let Some(account) = &self.account {
            let Account { cuts, resumes, sent, delivered, .. } = account;
            let [lost, duplicated, reordered] =
                [Kind::Lost, Kind::Duplicated, Kind::Reordered].map(|kind| self.count(account, kind));
            let counts = [*cuts, *resumes, *sent, *delivered, lost, duplicated, reordered];
            let cells: Vec<String> = counts.iter().map(usize::to_string).collect();
            let _ = write!(line, " {} | {} |", cells.join(" | "), self.by_the_peer(account));
        }
        if let Some(why) = &self.failed {
            let _ = write!(line, " FAILED: {why}");
        }
        line
    }

    /// Prints what was found, with its proof: all of ours, and the first of the others. The file has them all.
    pub fn explain(&self, place: &Place) {
        let Some(account) = &self.account else { return };
        let (mut file, mut shown) = (String::new(), 0);
        for finding in &account.findings {
            let whose = match finding.blame {
                _ if self.is_ours(finding) => "OURS",
                Blame::Nobody => "nobody's",
                _ => "the peer's",
            };
            let line = format!("{whose}: {:?}: {}", finding.kind, finding.why);
            let _ = writeln!(file, "{line}");
            if self.is_ours(finding) || shown < SHOWN {
                println!("    {line}");
                shown += 1;
            }
        }
        let _ = std::fs::write(place.log("findings"), file);
        if !account.findings.is_empty() {
            println!("    all {}: {}", account.findings.len(), place.log("findings").display());
        }
    }

    fn is_ours(&self, finding: &Finding) -> bool {
        finding.blame != Blame::Nobody && self.ours.is_none_or(|ours| ours == finding.blame)
    }

    fn count(&self, account: &Account, kind: Kind) -> usize {
        account.findings.iter().filter(|finding| finding.kind == kind && self.is_ours(finding)).count()
    }

    fn by_the_peer(&self, account: &Account) -> String {
        let mut text = String::new();
        for (kind, word) in WORDS {
            let theirs = |finding: &&Finding| finding.kind == kind && !self.is_ours(finding);
            let (mut peer, mut nobody) = (0, 0);
            for finding in account.findings.iter().filter(theirs) {
                *if finding.blame == Blame::Nobody { &mut nobody } else { &mut peer } += 1;
            }
            if peer > 0 {
                let _ = write!(text, "{}{peer} {word}", if text.is_empty() { "" } else { ", " });
            }
            if nobody > 0 {
                let _ = write!(text, "{}({nobody} {word}, unacknowledged)", if text.is_empty() { "" } else { ", " });
            }
        }
        text
    }
}

const WORDS: [(Kind, &str); 6] = [
    (Kind::Lost, "lost"),
    (Kind::Duplicated, "duplicated"),
    (Kind::Reordered, "out of order"),
    (Kind::NotResumed, "session given up"),
    (Kind::Miscounted, "miscounted"),
    (Kind::Stuck, "stuck"),
];

pub fn print(rows: &[Row]) {
    println!(
        "| peer | version | our role | scenario | cuts | resumes | sent | delivered | lost | duplicated \
         | out of order | the peer's own |"
    );
    println!("| --- | --- | --- | --- | --: | --: | --: | --: | --: | --: | --: | --- |");
    for row in rows {
        println!("{}", row.line());
    }
}
