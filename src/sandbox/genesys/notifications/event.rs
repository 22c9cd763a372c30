//! What a notification says.

use serde_json::{Value, json};

use crate::sandbox::genesys::sms::SmsSession;

/// The vendor's pages do not name it; made by the pattern of its sisters.
pub(super) const CHANNEL: &str = "/v2/me/smssessions";
const MESSAGE_TYPE: &str = "SMSsessionStateChangeMessage";
/// The code of an internal error; which ones an SMS session really sends is not documented.
const ERROR_CODE: i64 = 4;

/// The session as it is now, with the whole of its user data.
pub(super) fn properties_updated(session: &SmsSession, reference_id: Option<u64>) -> Value {
    about(json!(session), "PropertiesUpdated", reference_id)
}

/// The session without its user data, which by that does not become empty.
pub(super) fn changed(session: &SmsSession, notification_type: &str) -> Value {
    let mut session = json!(session);
    if let Value::Object(fields) = &mut session {
        fields.shift_remove("userData");
    }
    about(session, notification_type, None)
}

/// The shape is that of sister notifications; of the session it names no more than needed to find it.
pub(super) fn error(session: &SmsSession, reference_id: u64, message: &str) -> Value {
    let named = json!({"id": session.id, "uri": session.uri});
    let mut event = about(named, "Error", Some(reference_id));
    event["data"]["errorCode"] = json!(ERROR_CODE);
    event["data"]["errorMessage"] = json!(message);
    event
}

fn about(session: Value, notification_type: &str, reference_id: Option<u64>) -> Value {
    let mut data = json!({"messageType": MESSAGE_TYPE, "notificationType": notification_type});
    if let Some(id) = reference_id {
        data["referenceId"] = json!(id);
    }
    data["smssession"] = session;
    json!({"channel": CHANNEL, "data": data})
}
