"""How a camera's video comes to the relay, where it comes over RTSP: what FFmpeg is told."""

OPTIONS = ("-rtsp_transport", "udp", "-rtsp_flags", "filter_src")
