//! Key Vault's secrets.
//!
//! Sources: learn.microsoft.com/rest/api/keyvault/secrets/get-secret, and the challenge that the vendor's clients wait
//! for (`authentication-requests-and-responses.md`).

use super::access::{self, Refused};
use super::fault::What;
use super::message::{Answer, Request};
use super::world::World;
use serde_json::json;

/// Answers for a secret's value.
pub fn answer(world: &World, request: &Request, fault: Option<&What>) -> Answer {
    let identity = match access::identity(world, request, "https://vault.azure.net", fault) {
        Ok(identity) => identity,
        Err(why) => {
            let challenge = "Bearer authorization=\"https://login.windows.net/00000000-0000-0000-0000-000000000000\", \
                             resource=\"https://vault.azure.net\"";
            let message = match why {
                Refused::Missing => "AKV10000: Request is missing a Bearer or PoP token.",
                _ => "AKV10022: Invalid audience, issuer or lifetime of the token.",
            };
            return Answer::error(401, "Unauthorized", message).with("WWW-Authenticate", challenge);
        }
    };
    // 7.0 to 7.6, then dates.
    if !request.query("api-version").is_some_and(|v| v.starts_with("7.") || v.starts_with("20")) {
        return Answer::error(400, "BadParameter", "The specified api-version is not supported or missing.");
    }
    if !identity.secrets {
        let message = "Caller is not authorized to perform action on resource.\r\nIf role assignments, deny \
                       assignments or role definitions were changed recently, please observe propagation time.";
        let error = json!({"code": "Forbidden", "message": message, "innererror": {"code": "ForbiddenByRbac"}});
        return Answer::json(403, &json!({"error": error}));
    }
    let parts = request.parts();
    match (request.method.as_str(), parts.as_slice()) {
        ("GET", ["secrets", name] | ["secrets", name, _]) => match world.secrets.get(*name) {
            Some(value) => {
                let id = format!("{}/secrets/{name}/0123456789abcdef0123456789abcdef", request.server());
                let attributes = json!({"enabled": true, "created": 1_493_938_410, "updated": 1_493_938_410,
                                        "recoveryLevel": "Recoverable+Purgeable"});
                Answer::json(200, &json!({"value": value, "id": id, "attributes": attributes}))
            }
            None => {
                let message = format!(
                    "A secret with (name/id) {name} was not found in this key vault. If you recently deleted this secret you may be able to recover it using the correct recovery command."
                );
                Answer::error(404, "SecretNotFound", &message)
            }
        },
        _ => Answer::error(405, "MethodNotAllowed", "The method is not allowed."),
    }
}
