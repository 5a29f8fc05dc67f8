"""Texts of files that only name another one; the name is to be filled in."""

DASH = """<?xml version="1.0"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"
type="static" mediaPresentationDuration="PT1S"><Period><AdaptationSet mimeType="video/webm">
<Representation id="0" bandwidth="1"><BaseURL>{}</BaseURL></Representation></AdaptationSet>
</Period></MPD>"""
