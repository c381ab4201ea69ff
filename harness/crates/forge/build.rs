//! Embeds the files that make a root file system a node.

fn main() -> std::io::Result<()> {
    kubenest_embed::embed("data/node", "node")?;
    kubenest_embed::embed("data/node-containerd", "node-containerd")?;
    kubenest_embed::embed("data/node-crio", "node-crio")
}
