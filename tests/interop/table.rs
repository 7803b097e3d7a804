//! The result table, in Markdown, and the verdict.

use std::fmt::Write;

use crate::account::{Account, Blame, Finding, Kind};

pub struct Row {
    pub peer: String,
    pub version: String,
    pub scenario: &'static str,
    /// The side that this crate plays, if it plays one.
    pub ours: Option<Blame>,
    pub result: Result<Account, String>,
}

impl Row {
    pub fn is_good(&self) -> bool {
        self.result.as_ref().is_ok_and(|account| account.findings.iter().all(|finding| !self.is_ours(finding)))
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
    (Kind::Miscounted, "h too high"),
    (Kind::Stuck, "stuck"),
];

pub fn print(rows: &[Row]) {
    println!(
        "| peer | version | our role | scenario | cuts | resumes | sent | delivered | lost | duplicated | out of order | the peer's own |"
    );
    println!("| --- | --- | --- | --- | --: | --: | --: | --: | --: | --: | --: | --- |");
    for row in rows {
        let role = match row.ours {
            Some(Blame::Client) => "client",
            Some(_) => "server",
            None => "none",
        };
        let head = format!("| {} | {} | {role} | {}", row.peer, row.version, row.scenario);
        match &row.result {
            Ok(account) => {
                let Account { cuts, resumes, sent, delivered, .. } = account;
                let [lost, duplicated, reordered] =
                    [Kind::Lost, Kind::Duplicated, Kind::Reordered].map(|kind| row.count(account, kind));
                println!(
                    "{head} | {cuts} | {resumes} | {sent} | {delivered} | {lost} | {duplicated} | {reordered} | {} |",
                    row.by_the_peer(account)
                );
            }
            Err(why) => println!("{head} | failed: {why} |"),
        }
    }
}

/// Everything that was found, with its proof.
pub fn explain(row: &Row, log: &std::path::Path) {
    let Ok(account) = &row.result else { return };
    for finding in &account.findings {
        let whose = match finding.blame {
            _ if row.is_ours(finding) => "FAULT",
            Blame::Nobody => "note",
            _ => "peer's fault",
        };
        println!("  {whose}: {:?}: {} ({:?}); {}", finding.kind, finding.why, finding.blame, log.display());
    }
}
