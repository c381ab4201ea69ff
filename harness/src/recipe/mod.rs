//! Node image recipes: which version of each component a node is made of.
