//! A client stops reading: nobody waits for it, and nothing that was for it is lost.

use tokio::time::timeout;

use super::client::Client;
use super::{Running, TIME, all, message, numbers, start};

/// More than the kernels at both ends take for a client that does not read, 200 kB each.
const COUNT: usize = 30;
const LAST: &str = "30.x";
const ROOM: [&str; 2] = ["--buffer-max-bytes=100000000", "--backlog-max-bytes=100000000"];

/// Sends them, and waits until the server has taken them all.
async fn flood(romeo: &mut Client) {
    for number in 1..=COUNT {
        romeo.send(&message("juliet@localhost/balcony", format_args!("{number}.{}", "x".repeat(200_000)))).await;
    }
    let meanwhile = romeo.ping().await;
    assert!(!meanwhile.contains("<message"), "none came back");
}

async fn all_arrive(client: &mut Client) {
    let received = client.upto(LAST).await;
    assert_eq!(numbers(&received), all(COUNT));
}

async fn two(server: &Running) -> (Client, Client) {
    let romeo = Client::simple(server, "romeo", "orchard").await;
    (romeo, Client::session(server, "juliet", "balcony").await)
}

#[tokio::test]
async fn its_session_moves_at_once() {
    let server = start(&ROOM).await;
    let (mut romeo, juliet) = two(&server).await;
    flood(&mut romeo).await;
    // `juliet` neither reads nor is closed; the server gives it time to take its last words, and no one else waits.
    let (mut again, resumed) = Client::resume(&server, "juliet", &juliet, juliet.h).await;
    assert!(resumed.contains("<resumed "), "{resumed}");
    all_arrive(&mut again).await;
    drop(juliet);
}

#[tokio::test]
async fn it_does_not_answer_in_time_and_can_resume() {
    let server = start(&[ROOM[0], ROOM[1], "--buffer-max=1000000", "--ack-timeout=1"]).await;
    let (mut romeo, mut juliet) = two(&server).await;
    let mut garden = Client::simple(&server, "juliet", "garden").await;
    juliet.send("<presence><priority>1</priority></presence>").await;
    flood(&mut romeo).await;
    // Messages for her go here before they go to the garden, but not if there is no stream.
    let to_garden = async {
        loop {
            romeo.send("<message to='juliet@localhost' type='headline'><body>anybody?</body></message>").await;
            romeo.ping().await;
            if garden.ping().await.contains("anybody?") {
                break;
            }
        }
    };
    timeout(TIME, to_garden).await.expect("her stream counts as lost");
    let (mut again, resumed) = Client::resume(&server, "juliet", &juliet, juliet.h).await;
    assert!(resumed.contains("<resumed "), "{resumed}");
    all_arrive(&mut again).await;
    drop(juliet);
}

#[tokio::test]
async fn its_buffer_is_full_and_another_session_gets_all() {
    let room = ["--buffer-max-bytes=1000000", "--backlog-max-bytes=1250000"];
    let server = start(&[room[0], room[1], "--on-full=end-after=0.2"]).await;
    let (mut romeo, juliet) = two(&server).await;
    let mut garden = Client::simple(&server, "juliet", "garden").await;
    tokio::join!(flood(&mut romeo), all_arrive(&mut garden));
    drop(juliet);
}

#[tokio::test]
async fn without_stream_management_it_stops_nobody_either() {
    let server = start(&["--sm=off", ROOM[1]]).await;
    let mut romeo = Client::simple(&server, "romeo", "orchard").await;
    let mut juliet = Client::simple(&server, "juliet", "balcony").await;
    flood(&mut romeo).await;
    all_arrive(&mut juliet).await;
}
