//! Embeds the recipes and the Go builds.

fn main() -> std::io::Result<()> {
    kubenest_embed::embed("data/recipes", "recipes")?;
    kubenest_embed::embed("data/go", "go")
}
