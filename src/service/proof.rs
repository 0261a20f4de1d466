//! What proves that an account is ours, read where the configuration says it is.

use crate::config::Secret;
use crate::config::model::Login;
use crate::config::model::Proof;
use crate::disk::secret;
use crate::smtp::client::settings;

/// Reads what proves who we are. Blocks on a file: to be run by the file worker. Done anew for every connection, so
/// that a new password or token counts at once.
pub fn read(login: &Login) -> Result<settings::Secret, String> {
    let file = |path| secret::read(path).map_err(|error| error.to_string());
    let password = |secret: Secret| settings::Secret::Password(secret.reveal().to_owned());
    match &login.proof {
        Proof::PasswordFile(path) => file(path).map(password),
        Proof::PasswordVariable(name) => {
            let value = std::env::var_os(name).ok_or_else(|| {
                format!(
                    "the environment variable {name} with the password of {} is not set",
                    login.user
                )
            })?;
            Secret::parse(value.as_encoded_bytes())
                .map(password)
                .map_err(|error| format!("the environment variable {name}: {error}"))
        }
        Proof::TokenFile(path) => {
            file(path).map(|token| settings::Secret::Token(token.reveal().to_owned()))
        }
        Proof::Certificate => Ok(settings::Secret::Certificate),
    }
}
