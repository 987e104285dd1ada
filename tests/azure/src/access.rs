//! Tokens and roles: who may do what, and how Resource Manager, Monitor and Key Vault say no.

use super::fault::What;
use super::message::Request;
use super::world::{Identity, World};

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// None was sent.
    Missing,
    /// It is none of ours.
    Unknown,
    /// It is for another service.
    Audience,
    /// Its time is over.
    Expired,
}

/// The identity behind the request's token, which must be for `audience`.
pub fn identity<'w>(
    world: &'w World,
    request: &Request,
    audience: &str,
    fault: Option<&What>,
) -> Result<&'w Identity, Refused> {
    let header = request.header("authorization").ok_or(Refused::Missing)?;
    let (scheme, text) = header.split_once(' ').ok_or(Refused::Unknown)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Refused::Unknown);
    }
    let token = world.tokens.get(text.trim()).ok_or(Refused::Unknown)?;
    if token.audience != audience {
        return Err(Refused::Audience);
    }
    if token.expires <= world.now() || fault == Some(&What::Expired) {
        return Err(Refused::Expired);
    }
    world.identities.get(token.identity).ok_or(Refused::Unknown)
}

impl Refused {
    /// Code and message as Resource Manager says them.
    pub fn words(self) -> (&'static str, &'static str) {
        match self {
            Refused::Missing => {
                ("AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing.")
            }
            Refused::Unknown => ("InvalidAuthenticationToken", "The access token is invalid."),
            Refused::Audience => (
                "InvalidAuthenticationTokenAudience",
                "The access token has been obtained for wrong audience or resource.",
            ),
            Refused::Expired => {
                ("ExpiredAuthenticationToken", "The access token expiry UTC time is earlier than current UTC time.")
            }
        }
    }
}
