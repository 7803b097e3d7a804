//! What a session takes, beside its stanzas: measured on a whole server it is less than 8 KiB with ten of them. And what an
//! account can cost.

#[path = "../support/count.rs"]
#[allow(dead_code, reason = "it counts pieces of work, too")]
mod count;

use clap::Parser;
use count::held;
use tokio::io::AsyncWriteExt;

use super::client::Client;
use super::server::options::Options;
use super::server::session::{Host, Session};
use super::{OPTIONS, message, start};

fn size_of_returned<A, B, C, F>(_: impl Fn(A, B, C) -> F) -> usize {
    size_of::<F>()
}

/// A task of tokio takes 104 bytes more, and a multiple of 128.
#[test]
fn a_session_has_a_small_task() {
    let sizes = (size_of_returned(Host::serve), size_of::<Host>(), size_of::<Session>());
    println!("task, host, session: {sizes:?} bytes");
    assert!(sizes.0 <= 280 && sizes.1 <= 216 && sizes.2 <= 488, "{sizes:?}");
}

const MIB: f64 = 1024.0 * 1024.0;

/// The most that a session of juliet's holds, whose client reads nothing, or is gone, while romeo writes to it until it is
/// over. Its grace lasts longer than the test.
async fn filled(is_simple: bool, is_there: bool, size: usize) -> f64 {
    let server = start(&["--on-full=end-after=1000"]).await;
    let mut romeo = Client::simple(&server, "romeo", "orchard").await;
    let mut juliet = match is_simple {
        true => Client::simple(&server, "juliet", "balcony").await,
        false => Client::session(&server, "juliet", "balcony").await,
    };
    if !is_there {
        juliet.cut(&mut romeo).await;
    }
    let stanzas = message("juliet@localhost/balcony", "x".repeat(size)).repeat(60_000 / size.max(600));
    let (before, mut most) = (held(), 0);
    let mut is_over = false;
    while !is_over {
        romeo.send(&stanzas).await;
        let said = romeo.ping().await;
        is_over = said.contains("type='error'") || held() - before < most / 2;
        most = most.max(held() - before - said.capacity() as isize);
    }
    most as f64 / MIB
}

/// The most that a connection holds for an element that does not end, whichever is worst: one that has logged in, or has
/// only opened its stream.
async fn unfinished(has_logged_in: bool) -> f64 {
    let server = start(&[]).await;
    let many = |part: &str| part.repeat(260_000 / part.len());
    let numbered = |part: &str| (0..30_000).map(|n| part.replace('#', &n.to_string())).collect::<String>();
    let parts = [
        format!("<message><body>{}", many("x")),
        format!("<message><x xmlns='b'>{}", many("<a/>")),
        format!("<message><x xmlns='b'>{}", many("<a/>b")),
        format!("<message><body>{}", many("&lt;b")),
        format!("<message><x xmlns='b'>{}", many("<a b=''/>")),
        format!("<message><x xmlns='b'>{}", many("<a xmlns:b='b'/>")),
        format!("<message {}", numbered("a#='' ")),
        format!("<message {}", numbered("xmlns:a#='b' ")),
    ];
    let mut romeo = Client::simple(&server, "romeo", "orchard").await;
    let mut most = 0;
    for part in parts {
        let mut juliet = match has_logged_in {
            true => Client::simple(&server, "juliet", "balcony").await,
            false => Client::opened(&server).await,
        };
        let before = held();
        for piece in part.as_bytes().chunks(4096) {
            if juliet.io.write_all(piece).await.is_err() {
                break; // it is too big
            }
            romeo.ping().await;
            most = most.max(held() - before);
        }
    }
    most as f64 / MIB
}

/// Ten sessions that can be resumed, the connections that it may have besides, what waits for it while it is away, and what
/// it keeps.
#[tokio::test]
async fn an_account_that_does_its_worst_takes_less_than_32_mib() {
    let resumable = filled(false, true, 60_000).await.max(filled(false, true, 1).await);
    let (simple, unfinished) = (filled(true, true, 60_000).await, unfinished(true).await);
    let options = Options::parse_from(OPTIONS);
    let (besides, kept) = (options.connections_max.get(), options.offline_max_bytes + options.private_max_bytes);
    let all = 10.0 * (resumable + unfinished) + besides as f64 * (simple + unfinished) + kept as f64 / MIB;
    println!(
        "{resumable:.2} and {simple:.2} MiB for a session, {unfinished:.2} for an element: {all:.1} for an account"
    );
    assert!((16.0..32.0).contains(&all), "{all} MiB");
    let away = filled(false, false, 60_000).await;
    assert!(away < resumable, "{away} MiB for one that is away");
}

/// There may be any number of them, until each has had its time.
#[tokio::test]
async fn a_connection_that_has_not_logged_in_takes_less_than_128_kib() {
    let held = unfinished(false).await;
    println!("{:.0} KiB", 1024.0 * held);
    assert!((1.0 / 64.0..1.0 / 8.0).contains(&held), "{held} MiB");
}
