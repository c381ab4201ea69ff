//! Labels: whose a thing is, and until when.
