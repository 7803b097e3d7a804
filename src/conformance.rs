//! Every **MUST**, **SHALL**, **SHOULD**, **RECOMMENDED** and **MAY** of
//! [XEP-0198](https://xmpp.org/extensions/xep-0198.html), version 1.6.3, in its order: how it is met, and the test that
//! shows it.
//!
//! *Whose* names the side that keeps the rule: the *crate*; the *host*, where the rule needs what the crate does not have
//! (a socket, a router, a disk); or *both*. *No*: it is not supported. `cargo test NAME` runs a test. A test of its own
//! checks that the named tests exist and that no sentence is left out. Each example of the XEP up to section 8 is a
//! test, too: `cargo test --test behaviour xep_examples`. Where the XEP leaves room, [`decisions`](crate::decisions) says what
//! is done.
//!
//! # 1. [Introduction](https://xmpp.org/extensions/xep-0198.html#intro)
//!
//! | # | the XEP | whose | here | tests |
//! | --- | --- | --- | --- | --- |
//! | 1 | To check TCP connectivity underneath a given stream, it is **RECOMMENDED** to use whitespace keepalives …, XEP-0199, or TCP keepalives. | host | Beside them, an `<r/>` that is not answered in [`ack_timeout`] detaches the session, and [`request_ack`] asks at any time. | `an_unanswered_r_detaches_the_session` |
//!
//! # 3. [Enabling Stream Management](https://xmpp.org/extensions/xep-0198.html#enable)
//!
//! | # | the XEP | whose | here | tests |
//! | --- | --- | --- | --- | --- |
//! | 2 | The `<enable/>` element **MAY** include a 'max' attribute to specify the client's preferred maximum resumption time in seconds. | crate | A client writes its [`resume_timeout`]. A server grants what the client asks for, up to its [`resume_timeout_max`], and its own [`resume_timeout`] without asking. | `max_is_the_smaller_of_both_sides`, `resume_timeout_max_is_what_a_client_may_ask_for` |
//! | 3 | Upon receiving the enable request, the server **MUST** reply with an `<enabled/>` element or a `<failed/>` element …. | both | The request is an [`EnableRequest`], which is `must_use` and goes into [`accept_enable`] or [`refuse_enable`]. Until it has, nothing else that arrives is handled. One that the host drops is refused after [`request_timeout`]. | `nothing_is_handled_before_a_request_is_answered`, `a_request_that_is_dropped_is_refused_in_time`, `server_enables_sm_after_session` |
//! | 4 | If the server allows session resumption, it **MUST** include a 'resume' attribute set to a value of "true" or "1" …. | crate | `resume='true'`; no attribute if not. | `server_enables_resumption`, `enabled_without_resumption_has_no_resume_attribute` |
//! | 5 | The `<enabled/>` element **MAY** include a 'max' attribute to specify the server's preferred maximum resumption time. | crate | The time that the session will really wait, in whole seconds. | `max_is_the_smaller_of_both_sides` |
//! | 6 | The `<enabled/>` element **MAY** include a 'location' attribute to specify the server's preferred IP address or hostname (optionally with a port) for reconnection …. | both | Written from [`Config::location`]; a client's host finds it in [`Session::location`], or [`Action::Enabled`], and connects there. | `location_goes_from_the_options_of_the_server_to_the_host_of_the_client`, `the_place_where_the_server_wants_it_back_is_told_as_long_as_there_is_the_session` |
//! | 7 | The client **MUST NOT** attempt to negotiate stream management until it is authenticated; i.e., it **MUST NOT** send an `<enable/>` element until after authentication … has been completed successfully. | crate | [`enable`] returns `<enable/>` only after [`bound`], and nothing else does. | `a_client_does_not_ask_before_a_resource_is_bound` |
//! | 8 | For client-to-server connections, the client **MUST NOT** attempt to enable stream management until after it has completed Resource Binding *unless it is resuming a previous session* …. | crate | The same; [`resume`] makes a stream of its own. Servers and components say [`authenticated_without_bind`]. | `a_client_does_not_ask_before_a_resource_is_bound` |
//! | 9 | The server **SHALL** enforce this order and return a `<failed/>` element in response if the order is violated …. | crate | `unexpected-request`, and the stream goes on. | `server_returns_failed_after_start`, `server_returns_failed_after_auth` |
//! | 10 | Note that a client **SHALL** only make at most one attempt to enable stream management. | crate | The second [`enable`] of a stream is an error, also after `<failed/>`. | `a_client_asks_once_for_each_stream` |
//! | 11 | If a server receives a second `<enable/>` element it **SHOULD** respond with a stream error, thus terminating the client connection. | both | As in the XEP's example: `<failed/>` with `unexpected-request`, and the stream is closed. No `<stream:error/>` besides. | `client_enables_sm_twice_fails_with_correct_error_stanza`, `example_06_server_returns_error_if_client_attempts_to_enable_stream_management_more_than_once` |
//!
//! # 4. [Acks](https://xmpp.org/extensions/xep-0198.html#acking)
//!
//! | # | the XEP | whose | here | tests |
//! | --- | --- | --- | --- | --- |
//! | 12 | An `<a/>` element **MUST** possess an 'h' attribute. | crate | [`Nonza::Ack`] cannot be without. One that arrives without ends the stream with `policy-violation`. | `required_attributes_are_required`, `h_non_given_closes_stream_gracefully` |
//! | 13 | In the unlikely case that the number of stanzas handled … exceeds the number of digits that can be represented by the unsignedInt datatype …, the value of 'h' **SHALL** be reset from 2<sup>32</sup>-1 back to zero (rather than being incremented to 2<sup>32</sup>). | crate | [`Counter`] wraps, and has no order that could be wrong around the wrap. | `walks_over_the_wrap_without_a_gap`, `p01_h_walks_over_the_wrap_without_a_gap`, `p02_every_ack_around_the_wrap_frees_what_it_acknowledges` |
//! | 14 | When an `<r/>` element ("request") is received, the recipient **MUST** acknowledge it by sending an `<a/>` element to the sender containing a value of 'h' that is equal to the number of stanzas handled by the recipient of the `<r/>` element. | both | [`Action::Write`] holds it, and is `must_use`. A stanza is handled when the host has settled it and all before it: see [`Receipt`]. | `basic_ack`, `an_r_is_answered_at_once_and_again_when_the_rest_is_handled` |
//! | 15 | The response **SHOULD** be sent as soon as possible after receiving the `<r/>` element, and **MUST NOT** be withheld for any condition other than a timeout. | both | The call that takes the `<r/>` returns it. If stanzas are still being handled, a second `<a/>` follows when they are. | `an_r_is_answered_at_once_and_again_when_the_rest_is_handled` |
//! | 16 | Either party **MAY** send an `<a/>` element at any time (…), even if it has not received an `<r/>` element from the other party. | both | [`send_ack`] makes one. One that arrives needs no `<r/>` before it. | `an_a_needs_no_r` |
//! | 17 | It is **RECOMMENDED** that initiating entities (usually clients) send an `<a/>` element right before they gracefully close the stream, in order to inform the peer about received stanzas. | both | [`finish`] makes it, for either side. | `the_last_a_goes_out_before_the_stream_is_closed` |
//! | 18 | When a party receives an `<a/>` element, it **SHOULD** keep a record of the 'h' value returned as the sequence number of the last handled outbound stanza for the current stream (and discard the previous value). | crate | [`acked`] returns it, with and without the buffer. | `an_a_needs_no_r`, `what_is_not_kept_is_still_counted` |
//! | 19 | If a stream ends and it is not resumed within the time specified in the original `<enabled/>` element, the sequence number and any associated state **MAY** be discarded by both parties. | both | [`Detached::deadline`] is that time, and [`expire`] does nothing before it. The last `h` is remembered as [`stale_h`] says. | `the_deadline_is_the_time_of_the_original_enabled`, `wait_for_resumption` |
//! | 20 | Before the session state is discarded, implementations **SHOULD** take alternative action regarding any unhandled stanzas (i.e., stanzas sent after the most recent 'h' value received): | both | A session ends as a whole, and its [`Ended`] is `must_use`: it holds each of these stanzas once, oldest first. | `p28_a_session_that_is_given_up_is_given_up_whole`, `the_deadline_is_the_time_of_the_original_enabled` |
//! | 21 | A server **SHOULD** treat unacknowledged stanzas in the same way that it would treat a stanza sent to an unavailable resource, by either returning an error to the sender, delivery to an alternate resource, or committing the stanza to offline storage. | host | [`Ended`] says how the session ended, and gives each stanza with its number and the time of its queueing. | `resend_unacked_on_reconnection`, `unacknowledged_message_hook_bounce`, `resend_unacked_to_different_res_after_resume_timeout`, `unacknowledged_message_hook_offline` |
//! | 22 | (Note that servers **SHOULD** add a delay element with the original (failed) delivery timestamp, as per XEP-0203). | both | [`delay::stamp`] or [`delay::stamp_bytes`] with the [`queued`] time of the stanza. | `only_what_may_carry_a_stamp_gets_one_and_only_one`, `the_wall_clock_goes_back_by_the_time_in_the_queue` |
//! | 23 | A user-oriented client **SHOULD** try to silently resend the stanzas upon reconnection or inform the user of the failure via appropriate user-interface elements. | host | [`Action::Failed`] hands them back, without those that the `h` of `<failed/>` covers; `record_sent` takes them into the next session. | `a_client_that_is_refused_gets_back_what_the_server_did_not_handle` |
//! | 24 | Clients **SHOULD** also add a delay element with the original (failed) send timestamp, so that the original send date is preserved. | both | As for servers. | `only_what_may_carry_a_stamp_gets_one_and_only_one` |
//!
//! # 5. [Resumption](https://xmpp.org/extensions/xep-0198.html#resumption)
//!
//! | # | the XEP | whose | here | tests |
//! | --- | --- | --- | --- | --- |
//! | 25 | To request that the stream will be resumable, when enabling stream management the client **MUST** add a 'resume' attribute to the `<enable/>` element with a value of "true" or "1" …. | crate | `resume='true'`, unless [`resume_timeout`] or the buffer is off. | `a_client_asks_for_resumption_unless_that_is_switched_off` |
//! | 26 | If the server will allow the stream to be resumed, it **MUST** include a 'resume' attribute set to "true" or "1" on the `<enabled/>` element and **MUST** include an 'id' attribute that specifies an identifier for the stream. | crate | Both or neither: without an SM-ID the session is not resumable. | `server_enables_resumption`, `without_an_sm_id_nothing_is_resumable` |
//! | 27 | The SM-ID **MUST** be generated by the server. | both | The host gives [`accept_enable`] an [`SmId::random`]; nothing that the client wrote goes into it. | `random_ids_are_base64url_of_all_128_bits` |
//! | 28 | The client **MUST** consider the SM-ID to be opaque and therefore **MUST NOT** assign any semantic meaning to the SM-ID. | crate | [`SmId`] has no parts; `Debug` does not show it. It comes back in `<resume/>` character by character. | `any_length_from_1_to_4000_bytes_survives`, `what_is_written_is_read_again_by_a_real_parser` |
//! | 29 | The server **MAY** encode any information it deems useful into the SM-ID, such as the full JID … of a connected client (e.g., the full JID plus a nonce value). | host | [`SmId::new`] takes any text. | `any_length_from_1_to_4000_bytes_survives` |
//! | 30 | The SM-ID **MUST NOT** be reused for simultaneous or subsequent sessions (…). | both | 128 random bits do not come twice; in the store an SM-ID is known with its owner. | `random_ids_are_base64url_of_all_128_bits`, `sm_ids_do_not_come_twice` |
//! | 31 | The SM-ID **SHOULD NOT** be longer than 4000 bytes. | crate | Longer ones are neither made nor read: `<failed><bad-request/></failed>`. | `a_previd_of_no_bytes_and_of_4001` |
//! | 32 | As noted, the `<enabled/>` element **MAY** include a 'location' attribute that specifies the server's preferred location for reconnecting (…). | both | As in 6. | `example_11_server_prefers_reconnection_at_a_particular_location` |
//! | 33 | When performing session resumption and also utilizing TLS, it is **RECOMMENDED** to take advantage of TLS session resumption … to further optimize the resumption of the XML stream.) | host | The crate knows no transport. | – |
//! | 34 | If the server considers the information provided during TLS session resumption to be sufficient authentication, it **MAY** offer the SASL EXTERNAL mechanism; for details, refer to …. | host | [`authenticated`] says that it is done, by whatever mechanism. | – |
//! | 35 | The `<resume/>` element **MUST** include a 'previd' attribute whose value is the SM-ID of the former stream and **MUST** include an 'h' attribute that identifies the sequence number of the last handled stanza sent over the former stream from the server to the client (…). | crate | [`Resume`] cannot be without. One that arrives without is refused with `bad-request`. | `required_attributes_are_required`, `a_client_that_comes_back_sends_the_rest_again` |
//! | 36 | If the server can resume the former stream, it **MUST** return a `<resumed/>` element, which **MUST** include a 'previd' attribute set to the SM-ID of the former stream and **MUST** also include an 'h' attribute set to the sequence number of the last handled stanza sent over the former stream from the client to the server (…). | both | [`accept_resume`] returns it. While the host still handles stanzas of the session it does not, since that `h` would leave them out. | `resume_session`, `receipts_that_are_open_belong_to_the_session_and_go_with_it` |
//! | 37 | If the server does not support session resumption, it **MUST** return a `<failed/>` element, which **SHOULD** include an error condition of feature-not-implemented. | crate | With [`resume_timeout`] none, the buffer off, or stream management off. | `a_server_without_resumption_says_feature_not_implemented`, `no_crash_if_stream_mgmt_disabled_but_client_requests_stream_mgmt_with_resumption` |
//! | 38 | If the server does not recognize the 'previd' as an earlier session (…), it **MUST** return a `<failed/>` element, which **SHOULD** include an error condition of item-not-found. | both | [`Lookup::session`] returns the [`Refusal`] for it, and the same for the session of another owner. | `resume_session_with_wrong_sid_returns_item_not_found`, `p04_to_know_an_sm_id_is_not_enough` |
//! | 39 | If the server recogizes the 'previd' as an earlier session that has timed out the server **MAY** also include a 'h' attribute indicating the number of stanzas received before the timeout. | both | With [`stale_h`] on, the store remembers it for [`geriatric`](crate::StaleH::geriatric). | `resume_expired_session_returns_correct_h`, `a_stale_h_goes_the_moment_after_it_is_too_old` |
//! | 40 | In both of these failure cases, the server **SHOULD** allow the client to bind a resource at this point rather than forcing the client to restart the stream negotiation process and re-authenticate. | crate | The stream is as it was after authentication: bind and `<enable/>` work, and another `<resume/>`. | `after_a_refused_resume_the_client_binds_and_enables` |
//! | 41 | If the former stream is resumed and the server still has the stream for the previously-identified session open at this time, the server **SHOULD** send a 'conflict' stream error and close that stream. | host | [`StreamError::Conflict`] is what to write, and [`check_resume`] tells beforehand whether the resumption will succeed. | `session_resumed_then_old_session_is_closed_gracefully_with_correct_error_stanza` |
//! | 42 | In effect, it should handle the element's 'h' attribute as it would handle it on an `<a/>` element (…), except that after processing it **MUST** re-send to the peer any stanzas that are still marked as unhandled. | both | [`Resumption`], which is `must_use`, says what to write before and after [`unacked`]. The arithmetic and the bounds are those of `<a/>`. | `resume_session`, `p02_every_resume_around_the_wrap_sends_the_rest_again` |
//! | 43 | Both parties **SHOULD** retransmit any stanzas that were not handled during the previous session, based on the sequence number reported by the peer. | both | A server gets a [`Resumption`], a client [`Action::Resumed`]; either writes [`unacked`]. | `resume_session`, `a_client_that_comes_back_sends_the_rest_again` |
//! | 44 | A reconnecting client **SHOULD NOT** request the roster, because any roster changes that occurred while the client was disconnected will be sent to the client after the stream management session resumes. | host | [`Action::Resumed`] is not [`Action::Enabled`]: what a new session needs belongs to the latter. | `a_client_that_comes_back_sends_the_rest_again` |
//! | 45 | The client **SHOULD NOT** resend presence stanzas in an attempt to restore its former presence state, since this state will have been retained by the server. | host | The same. A presence that was never acknowledged is among those to send again. | `a_client_that_comes_back_sends_the_rest_again` |
//! | 46 | Both parties **SHOULD NOT** try to re-establish state information (e.g., … information). | host | The same. A session that goes on has no [`Ended`]: see [`Disconnected::Resumable`]. | `a_resumption_is_no_ending`, `session_resumed_and_old_session_dead_doesnt_route_error_to_new_session` |
//!
//! # 6. [Error Handling](https://xmpp.org/extensions/xep-0198.html#errors)
//!
//! | # | the XEP | whose | here | tests |
//! | --- | --- | --- | --- | --- |
//! | 47 | If an error occurs with regard to an `<enable/>` or `<resume/>` element, the server **MUST** return a `<failed/>` element. | crate | Every [`Error`] about either has a [`Reaction`] with one in it. | `every_error_about_a_request_is_answered_with_failed` |
//! | 48 | This element **SHOULD** contain an error condition, which **MUST** be one of the stanza error conditions defined in RFC 6120. | crate | [`Condition`] has those and no other. | `failed_holds_a_bare_condition`, `every_error_about_a_request_is_answered_with_failed` |
//! | 49 | Stream management errors **SHOULD** be considered recoverable; however, misuse of stream management **MAY** result in termination of the stream. | crate | [`Reaction`] says which. What ends a stream: a wrong or missing `h`, `<enable/>` twice, no room in the buffer. | `after_a_refused_resume_the_client_binds_and_enables`, `server_returns_failed_after_auth` |
//! | 50 | When a remote entity acknowledges that it has handled a number of stanzas that is higher than the amount of stanzas that it was sent (…), the local entity **SHOULD** generate an undefined-condition stream error that includes a `<handled-count-too-high/>` element, and close the stream: | both | [`StreamError::HandledCountTooHigh`], with `h` and `send-count`; the stanzas come back in [`Ended`]. An `h` that goes back is a stream error as well. | `client_acks_more_than_sent`, `example_17_entity_closes_stream_because_peer_acknowledges_more_stanzas_than_it_was_sent` |
//!
//! # 7. [Stream Closure](https://xmpp.org/extensions/xep-0198.html#closure)
//!
//! | # | the XEP | whose | here | tests |
//! | --- | --- | --- | --- | --- |
//! | 51 | If a client wishes to cleanly close its stream and end its session, it **MUST** send a `</stream:stream>` so that the server can send unavailable presence on the client's behalf. | host | [`finish`] turns the stream into a [`Closing`], which takes the peer's last acknowledgements. Its end with [`EndReason::Closed`] is when to send unavailable presence. | `the_last_a_goes_out_before_the_stream_is_closed`, `what_the_peer_acknowledges_until_it_closes_does_not_come_back` |
//! | 52 | If the stream is not cleanly closed then the server **SHOULD** consider the stream to be unfinished (…) and **SHOULD** maintain the session on behalf of the client for a limited amount of time. | both | [`disconnect`] returns [`Disconnected::Resumable`] with a deadline, if the client asked for it. | `the_deadline_is_the_time_of_the_original_enabled`, `wait_for_resumption` |
//!
//! # 9. [SASL2 and Bind2](https://xmpp.org/extensions/xep-0198.html#inline)
//!
//! The module [`inline`](crate::inline) has the host's part. The examples of this section are tests, too:
//! `cargo test --test behaviour inline`.
//!
//! | # | the XEP | whose | here | tests |
//! | --- | --- | --- | --- | --- |
//! | 53 | If the client included a `<resume/>` element in its SASL2 `<authenticate/>` element, that **MUST** be processed first by the server. | crate | [`LoginStep::Resume`] is the first step. | `the_session_comes_before_the_resource_in_any_order_of_the_elements` |
//! | 54 | If that resumption is successful, the server **MUST** skip resource binding (…) and **MUST** entirely ignore the `<bind/>` request that might also be inlined in the `<authenticate/>` element. | crate | A session that takes the connection writes `<resumed/>` in [`Write::Success`]; the `<bind/>` is dropped with the [`Taker`]. | `client_tries_to_resume_stream_and_enables_stream_management_inlined_in_its_bind_request` |
//! | 55 | If a former stream has been successfully resumed using this specification, the stream is considered re-established immediately after the `<success/>` element instead and stream features **MUST NOT** be sent in this case. | both | [`InlineSuccess::features`] is `None`. | `client_tries_to_resume_stream_and_enables_stream_management_inlined_in_its_bind_request` |
//! | 56 | In this case, the server **MUST** include the `<failed/>` element defined by this specification in its SASL2 `<success/>` response, but also **MUST** continue to process the `<bind/>` in order to establish a new session for the client. | both | [`Refused::step`] is [`LoginStep::Bind`], and keeps the `<failed/>` for `<success/>`. | `client_failed_to_resume_stream`, `a_connection_that_comes_back_later_is_bound_in_the_same_success` |
//!
//! # 10. [Security Considerations](https://xmpp.org/extensions/xep-0198.html#security)
//!
//! | # | the XEP | whose | here | tests |
//! | --- | --- | --- | --- | --- |
//! | 57 | As noted, a server **MUST NOT** allow a client to resume a stream management session until after the client has authenticated (…); this helps to prevent session hijacking. | both | Before [`authenticated`] it is refused with `unexpected-request`. The store finds a session for its owner alone. | `no_resumption_before_authentication`, `p04_to_know_an_sm_id_is_not_enough` |
//! | 58 | That is, these elements **MUST NOT** be sent or processed if the stream would be resumed solely based on 0-RTT data, except when appropriate mitigations are in place (…). | both | A host neither sends [`to_elements`] in early data nor authenticates by it: XEP-0388 [forbids both](https://xmpp.org/extensions/xep-0388.html#security), with or without these elements. Behind that, it says by [`Replay`] whether an `<authenticate/>` could be one; if it could, nothing is resumed and nothing bound. The examples take no early data. | `what_may_be_a_replay_neither_resumes_nor_binds` |
//!
//! # Rules without such a word
//!
//! | the XEP | here | tests |
//! | --- | --- | --- |
//! | [These elements are not "stanzas"](https://xmpp.org/extensions/xep-0198.html#intro) … and are not counted or acked in stream management | [`Inbound`] tells them by name and namespace; `<r/>`, `<a/>` and what is foreign add nothing. | `h_ok_after_non_xmpp_stanza`, `p11_stanzas_are_told_by_name_and_namespace_and_nothing_else` |
//! | [the features include an `<sm/>` element](https://xmpp.org/extensions/xep-0198.html#feature) | [`has_feature`]: while a request could succeed. | `server_announces_sm` |
//! | [By "handled" we mean](https://xmpp.org/extensions/xep-0198.html#acking) that the server has accepted responsibility for a stanza | The host says so, stanza by stanza, in any order; `h` is the prefix without a gap. | `h_is_the_prefix_without_a_gap_in_every_order` |
//! | [The value of 'h' starts at zero](https://xmpp.org/extensions/xep-0198.html#acking) at the point stream management is enabled or requested to be enabled | What was sent before does not count. | `h_ok_after_session_enabled_after_session`, `h_ok_after_session_enabled_before_session` |
//! | [The counter for an entity's own sent stanzas](https://xmpp.org/extensions/xep-0198.html#acking) is set to zero and started after sending either `<enable/>` or `<enabled/>`. | A client counts, and keeps, what it sends before the answer. | `a_client_counts_from_enable_and_asks_after_enabled` |
//! | receipt of an `<a/>` element only indicates that new stanzas have been processed [if the 'h' attribute has been incremented](https://xmpp.org/extensions/xep-0198.html#acking) | The same `<a/>` twice is no error, and frees nothing. | `an_a_needs_no_r` |
//! | [The sequence values are carried over](https://xmpp.org/extensions/xep-0198.html#resumption) from the previous session and are not reset for the new stream. | Both counters are the session's, not the stream's. | `a_client_that_comes_back_sends_the_rest_again`, `p01_a_resumption_says_every_h_around_the_wrap` |
//! | [xs:boolean, xs:unsignedInt, xs:positiveInteger](https://xmpp.org/extensions/xep-0198.html#schemas) | Read as the schema language has them, and no other way. | `boolean_has_four_spellings`, `unsigned_int_is_as_in_xsd`, `positive_integer_saturates_and_has_no_zero` |
//!
//! [`accept_enable`]: crate::StreamMgmt::accept_enable
//! [`accept_resume`]: crate::StreamMgmt::accept_resume
//! [`ack_timeout`]: crate::Config::ack_timeout
//! [`acked`]: crate::StreamMgmt::acked
//! [`Action::Enabled`]: crate::Action::Enabled
//! [`Session::location`]: crate::Session::location
//! [`Action::Failed`]: crate::Action::Failed
//! [`Action::Resumed`]: crate::Action::Resumed
//! [`Action::Write`]: crate::Action::Write
//! [`authenticated`]: crate::StreamMgmt::authenticated
//! [`authenticated_without_bind`]: crate::StreamMgmt::authenticated_without_bind
//! [`bound`]: crate::StreamMgmt::bound
//! [`check_resume`]: crate::StreamMgmt::check_resume
//! [`Closing`]: crate::Closing
//! [`Condition`]: crate::Condition
//! [`Config::location`]: crate::Config::location
//! [`Counter`]: crate::Counter
//! [`delay::stamp`]: crate::delay::stamp
//! [`delay::stamp_bytes`]: crate::delay::stamp_bytes
//! [`Detached::deadline`]: crate::Detached::deadline
//! [`disconnect`]: crate::StreamMgmt::disconnect
//! [`Disconnected::Resumable`]: crate::Disconnected::Resumable
//! [`enable`]: crate::StreamMgmt::enable
//! [`EnableRequest`]: crate::EnableRequest
//! [`Ended`]: crate::Ended
//! [`EndReason::Closed`]: crate::EndReason::Closed
//! [`Error`]: crate::Error
//! [`expire`]: crate::Detached::expire
//! [`finish`]: crate::StreamMgmt::finish
//! [`has_feature`]: crate::StreamMgmt::has_feature
//! [`Inbound`]: crate::Inbound
//! [`InlineSuccess::features`]: crate::InlineSuccess::features
//! [`LoginStep::Bind`]: crate::LoginStep::Bind
//! [`LoginStep::Resume`]: crate::LoginStep::Resume
//! [`Lookup::session`]: crate::Lookup::session
//! [`Nonza::Ack`]: crate::Nonza::Ack
//! [`queued`]: crate::Returned::queued
//! [`Reaction`]: crate::Reaction
//! [`Receipt`]: crate::Receipt
//! [`Refusal`]: crate::Refusal
//! [`refuse_enable`]: crate::StreamMgmt::refuse_enable
//! [`Refused::step`]: crate::Refused::step
//! [`Replay`]: crate::Replay
//! [`request_ack`]: crate::StreamMgmt::request_ack
//! [`request_timeout`]: crate::Config::request_timeout
//! [`Resume`]: crate::Resume
//! [`resume`]: crate::StreamMgmt::resume
//! [`resume_timeout`]: crate::Config::resume_timeout
//! [`resume_timeout_max`]: crate::Config::resume_timeout_max
//! [`Resumption`]: crate::Resumption
//! [`send_ack`]: crate::StreamMgmt::send_ack
//! [`SmId::new`]: crate::SmId::new
//! [`SmId::random`]: crate::SmId::random
//! [`SmId`]: crate::SmId
//! [`stale_h`]: crate::Config::stale_h
//! [`StreamError::Conflict`]: crate::StreamError::Conflict
//! [`StreamError::HandledCountTooHigh`]: crate::StreamError::HandledCountTooHigh
//! [`Taker`]: crate::Taker
//! [`to_elements`]: crate::InlineRequest::to_elements
//! [`unacked`]: crate::StreamMgmt::unacked
//! [`Write::Success`]: crate::Write::Success
