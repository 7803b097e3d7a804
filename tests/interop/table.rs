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
    /// The peer's own faults that are known.
    pub known: Vec<Kind>,
    pub account: Option<Account>,
    /// Why the scenario did not come to its end.
    pub failed: Option<String>,
}

impl Row {
    pub fn is_good(&self) -> bool {
        let good = |finding: &Finding| !self.is_ours(finding) && !self.is_new(finding);
        let clean = |account: &Account| account.findings.iter().all(good);
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
        let Some(account) = &self.account else {
            return format!("{line} | | | | | | | **failed: {}** |", self.failed.as_deref().unwrap_or_default());
        };
        let Account { cuts, resumes, sent, delivered, .. } = account;
        let [lost, duplicated, reordered] =
            [Kind::Lost, Kind::Duplicated, Kind::Reordered].map(|kind| self.count(account, kind));
        for count in [*cuts, *resumes, *sent, *delivered, lost, duplicated, reordered] {
            let _ = write!(line, " {count} |");
        }
        format!("{line} {} |", self.remarks(account))
    }

    /// Prints what was found, with its proof: all of ours, and the first of the others. The file has them all.
    pub fn explain(&self, place: &Place) {
        let Some(account) = &self.account else { return };
        let (mut file, mut shown) = (String::new(), 0);
        for finding in &account.findings {
            let whose = match finding.blame {
                _ if self.is_ours(finding) => "OURS",
                _ if self.is_new(finding) => "THE PEER'S, and new",
                Blame::Nobody => "nobody's",
                _ => "the peer's",
            };
            let line = format!("{whose}: {:?}: {}", finding.kind, finding.why);
            let _ = writeln!(file, "{line}");
            if self.is_ours(finding) || self.is_new(finding) || shown < SHOWN {
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

    /// It is the peer's, and of a kind that was not seen before.
    fn is_new(&self, finding: &Finding) -> bool {
        finding.blame != Blame::Nobody && !self.is_ours(finding) && !self.known.contains(&finding.kind)
    }

    fn count(&self, account: &Account, kind: Kind) -> usize {
        account.findings.iter().filter(|finding| finding.kind == kind && self.is_ours(finding)).count()
    }

    /// What has no column of its own: the rest of ours, then the peer's, then nobody's.
    fn remarks(&self, account: &Account) -> String {
        let mut remarks = Vec::new();
        if let Some(why) = &self.failed {
            remarks.push(format!("**failed: {why}**"));
        }
        let count = |kind, wanted: &dyn Fn(&Finding) -> bool| {
            account.findings.iter().filter(|finding| finding.kind == kind && wanted(finding)).count()
        };
        for (kind, word, _) in &WORDS[3..] {
            match count(*kind, &|finding| self.is_ours(finding)) {
                0 => {}
                n => remarks.push(format!("**ours: {n} {word}**")),
            }
        }
        for (kind, word, _) in WORDS {
            match count(kind, &|finding| finding.blame != Blame::Nobody && !self.is_ours(finding)) {
                0 => {}
                n if self.known.contains(&kind) => remarks.push(format!("{n} {word}")),
                n => remarks.push(format!("**new: {n} {word}**")),
            }
        }
        for (kind, _, word) in WORDS {
            match count(kind, &|finding| finding.blame == Blame::Nobody) {
                0 => {}
                n => remarks.push(format!("({n} {word})")),
            }
        }
        remarks.join(", ")
    }
}

/// Each kind of finding as somebody's fault and as nobody's. The first three have columns.
const WORDS: [(Kind, &str, &str); 8] = [
    (Kind::Lost, "lost", "lost"),
    (Kind::Duplicated, "duplicated", "redelivered"),
    (Kind::Reordered, "out of order", "redelivered late"),
    (Kind::NotResumed, "sessions given up", "sessions ended"),
    (Kind::Miscounted, "miscounted", "miscounted"),
    (Kind::Stuck, "times stuck", "times stuck"),
    (Kind::Malformed, "malformed", "malformed"),
    (Kind::Abandoned, "connections left", "connections left"),
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
