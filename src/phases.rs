//! Every element in every phase of a stream: what [`StreamMgmt::handle`](crate::StreamMgmt::handle) makes of it. A test
//! reads these tables and tries each cell, with a well-made element and a malformed one.
//!
//! | word | meaning | what is done |
//! | --- | --- | --- |
//! | yes | the element is taken | the [`Action`](crate::Action) says |
//! | off | [`Unsupported`](crate::Error::Unsupported): the host has switched it off | `<failed/>` with `feature-not-implemented`; the stream goes on |
//! | unexpected | [`Unexpected`](crate::Error::Unexpected): it may not come now | `<failed/>` with `unexpected-request`; the stream goes on |
//! | again | [`AlreadyEnabled`](crate::Error::AlreadyEnabled) | `<failed/>` with `unexpected-request`; the stream is closed |
//! | idle | [`NotEnabled`](crate::Error::NotEnabled): stream management is off | nothing |
//! | role | [`WrongRole`](crate::Error::WrongRole): only the other role sends it | nothing |
//! | unasked | [`NotRequested`](crate::Error::NotRequested): it answers no request | nothing |
//! | wait | [`RequestPending`](crate::Error::RequestPending): the host has not answered a request | the element is kept, and given once more |
//!
//! A malformed element is judged by the same tables first. Where it may come, `<enable/>` and `<resume/>` are answered with
//! `<failed/>` and `bad-request`, `<a/>` and `<resumed/>` end the stream with `policy-violation`, `<enabled/>` is taken
//! without what cannot be read, and `<failed/>` is a no, however it is written.
//!
//! # Server
//!
//! | phase | enable | resume | a | r | enabled | resumed | failed | message | other |
//! | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
//! | disabled | off | off | idle | idle | role | role | role | yes | yes |
//! | connected | unexpected | unexpected | idle | idle | role | role | role | yes | yes |
//! | authenticated | unexpected | yes | idle | idle | role | role | role | yes | yes |
//! | without-bind | yes | yes | idle | idle | role | role | role | yes | yes |
//! | no-resumption | unexpected | off | idle | idle | role | role | role | yes | yes |
//! | no-buffer | unexpected | off | idle | idle | role | role | role | yes | yes |
//! | bound | yes | unexpected | idle | idle | role | role | role | yes | yes |
//! | enable-pending | wait | wait | wait | wait | wait | wait | wait | wait | wait |
//! | resume-pending | wait | wait | wait | wait | wait | wait | wait | wait | wait |
//! | enabled | again | unexpected | yes | yes | role | role | role | yes | yes |
//!
//! *without-bind*, *no-resumption* and *no-buffer* are authenticated, too: without a resource to bind, with
//! [`resume_timeout`](crate::Config::resume_timeout) off, and with [`buffer`](crate::Config::buffer) off.
//!
//! # Client
//!
//! | phase | enable | resume | a | r | enabled | resumed | failed | message | other |
//! | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
//! | connected | role | role | idle | idle | unasked | unasked | unasked | yes | yes |
//! | authenticated | role | role | idle | idle | unasked | unasked | unasked | yes | yes |
//! | bound | role | role | idle | idle | unasked | unasked | unasked | yes | yes |
//! | enabling | role | role | idle | idle | yes | unasked | yes | yes | yes |
//! | resuming | role | role | idle | idle | unasked | yes | yes | yes | yes |
//! | enabled | role | role | yes | yes | unasked | unasked | unasked | yes | yes |
//! | refused | role | role | idle | idle | unasked | unasked | unasked | yes | yes |
