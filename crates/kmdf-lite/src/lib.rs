//! The part of KMDF 1.31 that wskclient uses, over NT kernel functions
