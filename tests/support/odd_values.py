"""Numbers, texts and places that something might stumble on."""

ODD_NUMBERS = (
    *(0, 1, 2, 3, 7, 8, 9, 10, 11, 16, 127, 128, 255, 256, 4095, 1 << 16, 1 << 24, 1 << 27),
    *((1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 40, 1 << 62, (1 << 63) - 1, 1 << 63),
    *((1 << 64) - 1, (1 << 64) - 2, (1 << 64) - 3, (1 << 64) - (1 << 31), (1 << 64) - (1 << 16)),
)
"""As the varints they are written as; from 2**63 on they are negative."""

ODD_TEXTS = (
    *(b"", b"target", b"source", b"output", b"\0", b"\xff\xfe", b"a" * 5000, b"Conv", b"Reshape"),
    *(b"If", b"Loop", b"Resize", b"Pad", b"Split", b"Slice", b"Expand", b"Tile", b"Gather"),
    *(b"com.microsoft", b"ai.onnx.ml", b"SAME_UPPER", b"linear", b"cubic", b"reflect", b"CRD"),
)
ODD_PLACES = (
    *(b"../secret.bin", b"/etc/passwd", b"a/../../secret.bin", b"C:\\Windows\\win.ini", b"."),
    *(b"..\\secret.bin", b"\\\\host\\share", b"link.bin", b"folder/base.bin", b"base.bin\0.txt"),
    *(b"/dev/zero", b"pipe", b"folder", b"", b"model.onnx", b"./base.bin", b"/proc/self/mem"),
    *(b"0", b"-1", b"4096", b"99999999999999999999", b"1e3", b"0x10", b" 8", b"\xc2\xb2", b"nan"),
)
