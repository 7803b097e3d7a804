use std::time::Instant;

use minidom::Element;
use xmpp_sm::{Config, Early, Inline, NS, Refused, ResumeRequest, Success, Unbound};

const SASL2: &str = "urn:xmpp:sasl:2";
const BIND2: &str = "urn:xmpp:bind:0";

/// The `<inline/>` of `<authentication xmlns='urn:xmpp:sasl:2'/>`, which stands among the stream features. `sm`: the
/// options, if stream management is offered. `others`: what else `<bind/>` may switch on.
pub fn inline_features(sm: Option<&Config>, others: &[&str]) -> Element {
    let feature = |var: &str| Element::builder("feature", BIND2).attr(rxml::xml_ncname!("var").to_owned(), var).build();
    let vars = sm.map(|_| NS).into_iter().chain(others.iter().copied());
    let bind = Element::builder("inline", BIND2).append_all(vars.map(feature));
    let resume = sm.filter(|config| Inline::has_resume_feature(config)).map(|_| Element::bare("sm", NS));
    Element::builder("inline", SASL2).append_all(resume).append(Element::builder("bind", BIND2).append(bind)).build()
}

/// `<success/>`. `jid`: the session's full JID, or the bare one where there is no session. `data`: what the mechanism
/// has to say, in Base64.
pub fn success(jid: &str, data: Option<&str>, sm: Success) -> Element {
    let text = |name: &str, text: &str| Element::builder(name, SASL2).append(text).build();
    let enable = |bound: xmpp_sm::Bound| bound.enable.map(|reply| reply.to_element());
    let bound = |bound| Element::builder("bound", BIND2).append_all(enable(bound)).build();
    Element::builder("success", SASL2)
        .append_all(data.map(|data| text("additional-data", data)))
        .append(text("authorization-identifier", jid))
        .append_all(sm.resume.map(|reply| reply.to_element()))
        .append_all(sm.bound.map(bound))
        .build()
}

/// Does what a client has asked for in its `<authenticate/>`: after authentication, and again when its connection comes
/// back because it may not have its session. `Some`: it has no session now, and its login goes on as ever.
pub async fn inline<H: InlineHost>(
    mut stream: Unbound,
    mut connection: H::Connection,
    host: &H,
    now: Instant,
) -> Option<(Unbound, H::Connection)> {
    while let Some(early) = stream.poll(now) {
        match early {
            Early::Resume(request) => {
                let refused = host.resume(stream, request, connection)?;
                (stream, connection) = (refused.stream, refused.connection);
            }
            Early::Bind(bind) => {
                if let Some(jid) = host.choose(&connection, stream.owner(), &bind) {
                    host.bind(stream, connection, jid, &bind).await;
                    return None;
                }
            }
            Early::Success(success) => host.write_success(&mut connection, stream.owner(), success),
            _ => {}
        }
    }
    Some((stream, connection))
}

/// What a server does for `inline`.
pub trait InlineHost {
    type Connection;
    type Jid;
    /// The `resume` of the loop above.
    fn resume(
        &self,
        stream: Unbound,
        request: ResumeRequest,
        connection: Self::Connection,
    ) -> Option<Refused<Self::Connection>>;
    /// The full JID of a new session of this owner. `None`: it cannot have any.
    fn choose(&self, connection: &Self::Connection, owner: &str, bind: &Element) -> Option<Self::Jid>;
    /// Binds the resource, and starts `serve` with the session that [`Unbound::bind`] makes.
    fn bind(
        &self,
        stream: Unbound,
        connection: Self::Connection,
        jid: Self::Jid,
        bind: &Element,
    ) -> impl Future<Output = ()> + Send;
    /// Writes `success`, and the stream features that it names.
    fn write_success(&self, connection: &mut Self::Connection, jid: &str, success: Success);
}
