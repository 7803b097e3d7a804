//! Where [XEP-0198](https://xmpp.org/extensions/xep-0198.html) leaves room: what this crate does, why, and the tests that
//! show it. What the XEP does say is in [`conformance`](crate::conformance).
//!
//! `cargo test NAME` runs a test. A test of its own checks that the named tests exist.
//!
//! # What a peer says
//!
//! An error of the peer's is answered as mildly as is safe. What only asks for something is refused, and the stream goes
//! on; a count that cannot be right ends it, for then it is unknown which stanzas have arrived.
//!
//! | situation | what the crate does | tests |
//! | --- | --- | --- |
//! | an `h`, on whichever element | The arithmetic is that of serial numbers: `h` less what was acknowledged before, modulo 2<sup>32</sup>, is at most what is unacknowledged. Every other `h` is wrong, also around the wrap. | `h_is_right_if_it_is_no_further_than_what_is_unacknowledged`, `p02_every_h_beside_the_window_is_told_from_those_in_it` |
//! | an [`<a/>`](https://xmpp.org/extensions/xep-0198.html#acking) with an `h` beyond what was sent | The stream ends with `undefined-condition` and `<handled-count-too-high/>`, whose `send-count` is what was sent, not what was acknowledged. | `p03_send_count_is_what_was_sent`, `an_acknowledgement_of_what_was_never_sent` |
//! | an `<a/>` with an `h` behind the last one | The same condition, without an element of its own, for the XEP has none; the text says both numbers. | `an_acknowledgement_that_is_taken_back` |
//! | the same where nothing is kept | An `<a/>` is checked against what was sent, with the buffer or without. | `p09_without_a_buffer_acknowledgements_are_checked_against_what_was_sent` |
//! | an `<a/>` without `h`, or with one that is no number | The stream ends with `policy-violation`. | `an_a_without_an_unsigned_int_ends_the_stream_with_policy_violation` |
//! | a [`<resume/>`](https://xmpp.org/extensions/xep-0198.html#resumption) with an `h` that cannot be right | `<failed/>` with `bad-request`. The session is as it was, waits as long as it would have, and a stream that has it does not notice. | `h_wrong_on_resume_is_a_bad_request_and_leaves_the_session_as_it_was`, `p06_a_resume_with_a_wrong_h_changes_nothing`, `p06_of_a_live_session_by_its_owner_with_an_h_that_cannot_be` |
//! | a `<resumed/>` with such an `h`, or for another session | The client ends the stream; its session is as it was. | `h_wrong_on_resumed_is_the_servers_fault_and_leaves_the_session_as_it_was`, `resumed_for_another_session_is_not_believed` |
//! | a `<failed/>` with `h` | In reply to `<resume/>` it spares what has arrived; one that cannot be right, or in reply to `<enable/>`, spares nothing. | `h_on_failed_spares_what_arrived_and_a_wrong_one_spares_nothing`, `h_on_failed_for_an_enable_spares_nothing` |
//! | a malformed `<enable/>` or `<resume/>` | `<failed/>` with `bad-request`, and the stream goes on. | `a_malformed_request_is_a_bad_request_and_the_stream_lives` |
//! | a malformed `<enabled/>` | The client takes what it can read of it. Without an `id` and `resume` that it can read, the session is not resumable. | `a_client_takes_what_it_can_of_enabled` |
//! | numbers and booleans | As XSD 1.1 has them: white space around them, a leading `+` and zeros are allowed, `true`, `false`, `1` and `0`; nothing else is. | `unsigned_int_is_that_of_xsd`, `positive_integer_is_that_of_xsd_and_has_no_upper_end`, `boolean_is_that_of_xsd` |
//! | another element of the namespace, or another attribute | The element is reported and the attribute ignored; neither changes anything. | `what_the_namespace_does_not_have_is_reported_and_changes_nothing`, `unknown_attributes_children_and_text_are_ignored` |
//!
//! # Negotiation
//!
//! | situation | what the crate does | tests |
//! | --- | --- | --- |
//! | `<enable/>` before a resource is bound, `<resume/>` after | `<failed/>` with `unexpected-request`, and the stream goes on. | `enable_before_bind_is_unexpected_and_the_stream_lives`, `resume_after_bind_or_enable_is_unexpected_and_the_stream_lives` |
//! | a second `<enable/>` | `<failed/>` with `unexpected-request`, as in the XEP's example, and the stream is closed. On a resumed stream the first is a second. | `p16_a_second_enable_is_answered_and_ends_the_stream`, `p16_a_resumed_session_is_enabled_already` |
//! | `<r/>` or `<a/>` while stream management is off | The host is told; nothing is written, and the stream goes on. | `r_and_a_while_off_are_reported_and_not_answered` |
//! | resumption that was not asked for, or is switched off | `<enabled/>` has no `id`, and the session ends with its stream. | `p10_what_is_not_resumable_has_no_id_and_ends_with_its_stream` |
//! | the `max` of a client | The smaller of it and [`resume_timeout_max`](crate::Config::resume_timeout_max); what is granted is kept and told. | `max_is_the_smaller_of_both_sides`, `resume_timeout_max_is_what_a_client_may_ask_for` |
//! | `<sm/>` among the features | It is there while a request could succeed, and never after. | `p21_features_follow_the_state`, `p21_nothing_is_offered_where_nothing_can_be_had` |
//! | a request that the host drops, or answers too late | After [`request_timeout`](crate::Config::request_timeout) it is refused with `internal-server-error`; the late answer is an error that changes nothing. | `a_request_that_is_dropped_is_refused_in_time`, `a_late_resume_comes_back_with_its_session` |
//! | what arrives before such a request is answered | It is not taken, and given once more afterwards: an answer never overtakes its question. | `whatever_comes_before_the_answer_can_be_fed_again` |
//!
//! # Asking for acknowledgements
//!
//! | situation | what the crate does | tests |
//! | --- | --- | --- |
//! | when to ask | After each stanza, or every so many; or with one `<r/>` on its way at a time, which its answer renews. | `ack_is_on_and_after_every_stanza`, `ack_freq_counts_the_stanzas_since_the_last_request`, `p20_one_request_at_a_time_is_on_its_way` |
//! | what is left when the traffic stops | It is asked about after [`ack_idle`](crate::Config::ack_idle), or a dead link would not be noticed. | `what_is_left_of_a_rhythm_is_asked_about_after_ack_idle` |
//! | between `<enable/>` or `<resume/>` and the reply | Neither side writes `<r/>` or `<a/>`: a client fails on it. | `a_client_writes_nothing_of_stream_management_between_enable_and_its_answer`, `a_client_writes_nothing_of_stream_management_between_resume_and_its_answer`, `a_server_writes_nothing_of_stream_management_before_its_answer` |
//! | `<enabled/>` and `<resumed/>` | They come apart from what follows, to be flushed by themselves: a client that reads them together with a stanza miscounts. | `enabled_and_resumed_come_apart_from_what_follows_and_hosts_are_told_to_flush_them` |
//! | an `<r/>` without an answer | [`ack_timeout`](crate::Config::ack_timeout) after the oldest one the connection is dead, and the session waits. | `an_unanswered_r_detaches_the_session`, `in_any_traffic` |
//! | this side does not read | An answer may lie unread: the peer's times stand still. | `each_time_stands_still_while_the_host_does_not_read` |
//! | an `<r/>` about stanzas that are still being handled | It is answered at once with what is handled, and again when the rest is. | `an_r_is_answered_at_once_and_again_when_the_rest_is_handled` |
//! | a client that is [inactive](https://xmpp.org/extensions/xep-0352.html) | It is not asked, unless the buffer fills up. | `what_was_held_back_is_asked_about_once_when_the_client_is_active_again`, `a_buffer_that_fills_up_asks_all_the_same_and_once` |
//!
//! # The buffer
//!
//! | situation | what the crate does | tests |
//! | --- | --- | --- |
//! | it is half full | The peer is asked, whatever the rhythm is: a peer that was not asked is not blamed. | `the_stanza_that_fills_half_of_the_buffer_asks`, `a_rhythm_slower_than_the_buffer_is_large_is_no_trap` |
//! | it is full | [`on_full`](crate::Config::on_full): the stream ends with `resource-constraint` after a grace, or at once; or it goes on, and its session cannot be resumed until the peer has acknowledged past what left. | `a_full_buffer_ends_the_stream_after_a_grace_of_5_s`, `a_full_buffer_ends_the_stream_at_once`, `a_full_buffer_keeps_the_stream_and_resumes_where_nothing_is_missing` |
//! | the grace runs, and more is sent | The time stays as it was, and twice the bounds end it. | `p07_steady_traffic_does_not_put_the_end_off`, `p15_an_overflow_is_an_answer_and_loses_nothing` |
//! | it fills up while there is no connection | The stanza comes back at once, under any policy. | `a_detached_session_is_within_its_bounds` |
//! | many small stanzas, or one large one | Number and bytes are bounded. | `p19_bytes_are_bounded_whatever_the_number_of_stanzas`, `p19_a_stanza_that_can_never_fit_is_answered_like_the_others` |
//! | it is off | Nothing is kept and nothing can be resumed; what an earlier stream kept stays. | `buffer_off_keeps_nothing_and_resumes_nothing`, `buffer_off_does_not_lose_what_a_resumed_session_kept` |
//!
//! # Handled or not
//!
//! | situation | what the crate does | tests |
//! | --- | --- | --- |
//! | receipts that are open when the stream is lost | They belong to the session. Its `h` must not leave out a stanza that may still be handled, or it comes again and is handled twice: a resumption waits until they are settled. | `receipts_that_are_open_belong_to_the_session_and_go_with_it`, `receipts_that_are_open_make_a_resume_wait`, `receipts_that_are_open_hold_a_clients_resume_back` |
//! | a receipt that is never settled | `h` stops before its stanza; its number and age are visible, and it can be given up. | `a_receipt_that_is_never_settled_stops_h_and_can_be_seen_and_given_up` |
//! | more than the host can handle | [`receipts_max`](crate::Config::receipts_max) and [`receipts_max_bytes`](crate::Config::receipts_max_bytes) stop the reading. | `receipts_max_bounds_what_the_host_has_in_its_hands`, `receipts_max_bytes_is_512_kib_and_bounds_what_the_host_has_in_its_hands` |
//!
//! # The end
//!
//! | situation | what the crate does | tests |
//! | --- | --- | --- |
//! | a stream that closes | The last `<a/>` goes out; what the peer still acknowledges counts, whichever side began. | `the_last_a_goes_out_before_the_stream_is_closed`, `what_the_peer_acknowledges_until_it_closes_does_not_come_back` |
//! | a session that ends | What is unacknowledged comes back to the host, oldest first, once, each with the time of its queueing. | `a_session_that_ends_hands_back_what_is_unacknowledged_once_and_in_order`, `p24_what_is_rerouted_along_a_chain_of_sessions_does_not_multiply` |
//! | a delay stamp | It says when the stanza was queued, and is written when it goes out again: on messages and presences that have none, not on errors and headlines. | `a_delay_stamp_is_that_of_the_queueing_on_what_may_carry_one`, `a_delay_stamp_is_written_once` |
//! | the last `h` of a session that is gone | It is remembered where [`stale_h`](crate::Config::stale_h) is on; told as often as it is asked for, since a reply may be lost; and never past its age, whether it was swept out or not. | `p12_an_expired_stale_h_is_not_answered_swept_or_not`, `no_h_is_told_of_a_session_that_was_closed_nor_where_it_is_switched_off` |
//! | somebody else's SM-ID | The reply is that for an SM-ID that never was. | `p04_to_know_an_sm_id_is_not_enough` |
//!
//! # A client and its server
//!
//! What [`Session`](crate::Session) decides, so that a client neither connects again without end nor gives up too early.
//!
//! | situation | what the crate does | tests |
//! | --- | --- | --- |
//! | a stream error in reply to `<resume/>` | The session is over; its stanzas go into the next one. | `a_stream_error_in_reply_to_resume_is_the_end_of_the_session` |
//! | no reply to `<resume/>`, twice | The same. | `a_server_that_does_not_reply_twice_is_not_asked_again`, `connections_may_be_lost_before_the_reply_but_not_without_end` |
//! | a server that acknowledges nothing, on two streams | The same: it is alive, and has lost count. | `a_session_of_which_nothing_is_acknowledged_twice_is_closed_and_the_next_one_begins` |
//! | `<conflict/>` | The host is told, for to come back by itself would throw the other client out; the session is kept. | `a_conflict_is_told_and_the_session_is_kept` |
//! | another account | A session is not offered to it. | `a_session_is_not_offered_to_another_account` |
