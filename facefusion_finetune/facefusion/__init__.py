"""Code that runs inside FaceFusion, laid out like its tree: no torch; gradio only with a page."""
