"""Code that runs inside FaceFusion, laid out like its own tree, without torch and gradio."""
