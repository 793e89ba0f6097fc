"""How a camera's video comes to the relay, where it comes over RTSP: what FFmpeg is told."""

OPTIONS = ("-rtsp_transport", "tcp")
