//! Conversations as SQL says them: a JSON array of objects with `role` and `content`.

use serde::Deserialize;
use serde_json::Value;
use vectorgpu_core::{Error, ErrorKind, Result};
use vectorgpu_llm::template::{Message, Role};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    role: String,
    content: String,
}

/// The messages of a JSON array.
///
/// # Errors
/// `InvalidArgument` for anything else, an empty array, and roles that there are not.
pub(super) fn list(messages: &Value) -> Result<Vec<Message>> {
    let refuse = |detail: String| {
        Error::new(
            ErrorKind::InvalidArgument,
            "messages must be an array of objects with the texts role and content",
        )
        .with_detail(detail)
    };
    let given = Vec::<Given>::deserialize(messages).map_err(|error| refuse(error.to_string()))?;
    if given.is_empty() {
        return Err(refuse("There is no message.".to_owned()));
    }
    let message = |given: Given| {
        Ok(Message {
            role: Role::named(&given.role)?,
            content: given.content,
        })
    };
    given.into_iter().map(message).collect()
}

/// What a user says, after what the model is told first.
pub(super) fn of_user(system: Option<&str>, text: &str) -> Vec<Message> {
    let system = system.map(|content| (Role::System, content));
    let messages = system.into_iter().chain([(Role::User, text)]);
    messages
        .map(|(role, content)| Message {
            role,
            content: content.to_owned(),
        })
        .collect()
}
