//! The stanza error conditions of RFC 6120, the only reasons that `<failed/>` may give.

macro_rules! conditions {
    ($(#[$meta:meta])* $of:ident: $($variant:ident = $name:literal,)*) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $of {
            $(#[doc = concat!("`<", $name, "/>`")] $variant,)*
        }

        impl $of {
            /// Every condition.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The name of its element.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The condition of that name, if RFC 6120 defines one.
            pub fn from_name(name: &str) -> Option<Self> {
                Some(match name { $($name => Self::$variant,)* _ => return None })
            }
        }
    };
}

pub(crate) use conditions;

conditions! {
    /// A [stanza error condition](https://www.rfc-editor.org/rfc/rfc6120#section-8.3.3), which is
    /// what [`<failed/>`](https://xmpp.org/extensions/xep-0198.html#errors) must give as its reason. See
    /// [`Nonza::Failed`](crate::Nonza::Failed).
    Condition:
    BadRequest = "bad-request",
    Conflict = "conflict",
    FeatureNotImplemented = "feature-not-implemented",
    Forbidden = "forbidden",
    Gone = "gone",
    InternalServerError = "internal-server-error",
    ItemNotFound = "item-not-found",
    JidMalformed = "jid-malformed",
    NotAcceptable = "not-acceptable",
    NotAllowed = "not-allowed",
    NotAuthorized = "not-authorized",
    PolicyViolation = "policy-violation",
    RecipientUnavailable = "recipient-unavailable",
    Redirect = "redirect",
    RegistrationRequired = "registration-required",
    RemoteServerNotFound = "remote-server-not-found",
    RemoteServerTimeout = "remote-server-timeout",
    ResourceConstraint = "resource-constraint",
    ServiceUnavailable = "service-unavailable",
    SubscriptionRequired = "subscription-required",
    UndefinedCondition = "undefined-condition",
    UnexpectedRequest = "unexpected-request",
}
