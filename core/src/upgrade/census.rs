//! What a container says that counts the connections of a pod without a hold.

/// What it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Not yet. How far it is.
    Counting(String),
    /// The connections have ended. The evidence.
    Closed(String),
    /// Its time was over, with connections left.
    Left(String),
    /// They cannot be counted. Why.
    Cannot(String),
}
