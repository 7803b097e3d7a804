use minidom::Element;
use xmpp_sm::{
    Config, InlineBind, InlineBound, InlineElements, InlineSuccess, LoginStep, NS, Nonza, Refused, Taker, Unbound,
};

const SASL2: &str = "urn:xmpp:sasl:2";
const BIND2: &str = "urn:xmpp:bind:0";

/// The `<inline/>` of `<authentication xmlns='urn:xmpp:sasl:2'/>`, which stands among the stream features. `sm`: the
/// options, if stream management is offered. `others`: what else `<bind/>` may switch on.
pub fn inline_features(sm: Option<&Config>, others: &[&str]) -> Element {
    let feature = |var: &str| Element::builder("feature", BIND2).attr(rxml::xml_ncname!("var").to_owned(), var).build();
    let vars = sm.map(|_| NS).into_iter().chain(others.iter().copied());
    let bind = Element::builder("inline", BIND2).append_all(vars.map(feature));
    let resume = sm.filter(|config| InlineElements::has_resume_feature(config)).map(|_| Element::bare("sm", NS));
    Element::builder("inline", SASL2).append_all(resume).append(Element::builder("bind", BIND2).append(bind)).build()
}

/// `<success/>`. `jid`: the session's full JID, or the bare one where there is no session. `data`: what the mechanism
/// has to say, in Base64.
pub fn success(jid: &str, data: Option<&str>, sm: InlineSuccess) -> Element {
    let text = |name: &str, text: &str| Element::builder(name, SASL2).append(text).build();
    let enable = |bound: InlineBound| bound.enable.map(|reply| reply.to_element());
    let bound = |bound| Element::builder("bound", BIND2).append_all(enable(bound)).build();
    Element::builder("success", SASL2)
        .append_all(data.map(|data| text("additional-data", data)))
        .append(text("authorization-identifier", jid))
        .append_all(sm.resume.map(|reply| reply.to_element()))
        .append_all(sm.bound.map(bound))
        .build()
}

/// Takes a login from step to step: after authentication, and when a connection comes back because its client may not have
/// its session. `Some`: there is no session yet, and the login goes on with `Unbound::handle`. `None`: the connection
/// has moved to a session.
pub async fn inline_login<H: InlineHost>(
    mut step: LoginStep,
    mut connection: H::Connection,
    host: &H,
) -> Option<(Unbound, H::Connection)> {
    loop {
        match step {
            LoginStep::Resume(request) => match host.resume(request.into_taker(connection)) {
                Some(refused) => Refused { connection, step } = refused,
                None => return None,
            },
            LoginStep::Bind(request) => match host.choose(&connection, &request) {
                Some(jid) => {
                    host.bind(request, connection, jid).await;
                    return None;
                }
                None => step = request.refuse(),
            },
            LoginStep::Unknown(_) => {
                host.fail(connection);
                return None;
            }
            LoginStep::Success { success, stream } => {
                host.write_success(&mut connection, stream.owner(), *success);
                return Some((stream, connection));
            }
            LoginStep::Failed { failed, stream } => {
                host.write_failed(&mut connection, stream.owner(), failed);
                return Some((stream, connection));
            }
        }
    }
}

/// What a server does for `inline_login`.
pub trait InlineHost {
    type Connection;
    type Jid;
    /// Gives the connection to the session that it asks for, as `hand_over` of the server's loop does. `Some`: the
    /// client may not have it.
    fn resume(&self, taker: Taker<Self::Connection>) -> Option<Refused<Self::Connection>>;
    /// The full JID of a new session. `None`: there cannot be any.
    ///
    /// A `<tag/>` in the [element](InlineBind::element) should be
    /// [in it](https://xmpp.org/extensions/xep-0386.html#identifiers), if a resource may have such a part, and before what the
    /// server makes up: `tag/made-up`. The same client may get the same resource each time; which client it is, is said by the
    /// `id` of the `<user-agent/>` in `<authenticate/>`. That `id` must not be seen in the resource, nor be guessed from it.
    fn choose(&self, connection: &Self::Connection, request: &InlineBind) -> Option<Self::Jid>;
    /// Binds the resource, and starts `serve` with the session that [`InlineBind::bind`] makes.
    ///
    /// XEP-0386 has [more for the host](https://xmpp.org/extensions/xep-0386.html#bind-request) to do here, before
    /// `<success/>` is written:
    ///
    /// - **An older session of the same client ends**, with `Mail::End(EndReason::Replaced)`: the one whose `<user-agent/>` had
    ///   the same `id`, and any other with this full JID. What it leaves goes into the new one, or elsewhere. Several
    ///   nodes keep the `id` where all of them find it, by owner: a table or a hash that one process has for itself
    ///   knows nothing of a session at another, or before a restart.
    /// - **Offline messages are not sent**, but cleared, where the client gets them from the archive. A server without an
    ///   archive keeps them for the initial presence.
    /// - **Carbons are on** from the first stanza if `<enable xmlns='urn:xmpp:carbons:2'/>` is in the element. It needs no
    ///   reply.
    /// - **The session begins inactive** if `<inactive xmlns='urn:xmpp:csi:0'/>` is in it: call `Session::set_active`.
    /// - **The archive's `<metadata/>`** should be in `<bound/>`, which `success` above leaves to such a server.
    fn bind(
        &self,
        request: InlineBind,
        connection: Self::Connection,
        jid: Self::Jid,
    ) -> impl Future<Output = ()> + Send;
    /// Writes `<failure/>` with `temporary-auth-failure`, and closes the stream, in a task of its own: its client tries again
    /// later, when it may be known whether there is the session that it asks for.
    fn fail(&self, connection: Self::Connection);
    /// Writes `<success/>` with this JID, and the stream features that `success` names.
    fn write_success(&self, connection: &mut Self::Connection, jid: &str, success: InlineSuccess);
    /// Writes `<failed/>` to the client with this bare JID.
    fn write_failed(&self, connection: &mut Self::Connection, jid: &str, failed: Nonza);
}
