//! What cannot be compared exactly is refused, with the way out.
