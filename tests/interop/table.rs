//! The result table, in Markdown, and the verdict.

use std::fmt::Write;
use std::time::Duration;

use crate::account::{Account, Blame, Finding, Kind};
use crate::peers::Place;

/// Lines of findings that are not ours.
const SHOWN: usize = 5;

pub struct Row {
    /// The client's name and version.
    pub client: String,
    /// The server's.
    pub server: String,
    pub scenario: &'static str,
    /// The side that is on trial, which the columns are about.
    pub tested: Blame,
    /// Whether this crate is in one of them. If not, they are there to be laid beside it, and fail nothing.
    pub is_ours: bool,
    /// The faults of the client and of the server that are known. Ours have none.
    pub known: [&'static [Kind]; 2],
    pub account: Option<Account>,
    /// The CPU time of the server, logins included.
    pub cpu: Option<Duration>,
    /// Why the scenario did not come to its end.
    pub failed: Option<String>,
}

impl Row {
    pub fn is_good(&self) -> bool {
        let clean = |account: &Account| !account.findings.iter().any(|finding| self.is_new(finding));
        !self.is_ours || self.failed.is_none() && self.account.as_ref().is_some_and(clean)
    }

    /// As a line of the table.
    pub fn line(&self) -> String {
        let mut line = format!("| {} | {} | {} |", self.client, self.server, self.scenario);
        let Some(account) = &self.account else {
            return format!("{line} | | | | | | | | **failed: {}** |", self.failed.as_deref().unwrap_or_default());
        };
        let Account { cuts, resumes, sent, delivered, .. } = account;
        let [lost, duplicated, reordered] =
            [Kind::Lost, Kind::Duplicated, Kind::Reordered].map(|kind| self.count(account, kind));
        for count in [*cuts, *resumes, *sent, *delivered, lost, duplicated, reordered] {
            let _ = write!(line, " {count} |");
        }
        let cpu = self.cpu.filter(|_| *sent > 0).map(|cpu| cpu.as_secs_f64() * 1000.0 / *sent as f64);
        let cpu = cpu.map_or(String::new(), |cpu| format!("{cpu:.1} ms"));
        format!("{line} {cpu} | {} |", self.remarks(account))
    }

    /// Prints what was found, with its proof: all of ours, and the first of the others. The file has them all.
    pub fn explain(&self, place: &Place) {
        let Some(account) = &self.account else { return };
        let (mut file, mut shown) = (String::new(), 0);
        for finding in &account.findings {
            let whose = match finding.blame {
                Blame::Nobody => "nobody's",
                Blame::Client => "the client's",
                Blame::Server => "the server's",
            };
            let new = if self.is_new(finding) { "NEW, " } else { "" };
            let line = format!("{new}{whose}: {:?}: {}", finding.kind, finding.why);
            let _ = writeln!(file, "{line}");
            if self.is_new(finding) || shown < SHOWN {
                println!("    {line}");
                shown += 1;
            }
        }
        let _ = std::fs::write(place.log("findings"), file);
        if !account.findings.is_empty() {
            println!("    all {}: {}", account.findings.len(), place.log("findings").display());
        }
    }

    /// It is somebody's, and of a kind that is not known of that side.
    fn is_new(&self, finding: &Finding) -> bool {
        let [client, server] = self.known;
        match finding.blame {
            Blame::Client => !client.contains(&finding.kind),
            Blame::Server => !server.contains(&finding.kind),
            Blame::Nobody => false,
        }
    }

    fn count(&self, account: &Account, kind: Kind) -> usize {
        account.findings.iter().filter(|finding| finding.kind == kind && finding.blame == self.tested).count()
    }

    /// What has no column of its own: the rest of the side on trial, then the other's, then nobody's.
    fn remarks(&self, account: &Account) -> String {
        let mut remarks = Vec::new();
        if let Some(why) = &self.failed {
            remarks.push(format!("**failed: {why}**"));
        }
        let other = if self.tested == Blame::Client { Blame::Server } else { Blame::Client };
        for (blame, words) in [(self.tested, &WORDS[3..]), (other, &WORDS[..]), (Blame::Nobody, &WORDS[..])] {
            for (kind, fault, effect) in words {
                let of = |finding: &&Finding| finding.kind == *kind && finding.blame == blame;
                let found: Vec<&Finding> = account.findings.iter().filter(of).collect();
                let Some(first) = found.first() else { continue };
                let n = found.len();
                remarks.push(match blame {
                    Blame::Nobody => format!("({n} {effect})"),
                    _ if self.is_new(first) => format!("**{}: {n} {fault}**", side(blame)),
                    _ => format!("{}: {n} {fault}", side(blame)),
                });
            }
        }
        remarks.join(", ")
    }
}

fn side(blame: Blame) -> &'static str {
    if blame == Blame::Client { "client" } else { "server" }
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
        "| client | server | scenario | cuts | resumes | sent | delivered | lost | duplicated | out of order | CPU | other |"
    );
    println!("| --- | --- | --- | --: | --: | --: | --: | --: | --: | --: | --: | --- |");
    for row in rows {
        println!("{}", row.line());
    }
}
