# Reads batches of documents with the standard library and answers what each means: a hash, and one byte of verdict.
import hashlib, json, struct, sys
from decimal import Decimal, localcontext

source, sink = sys.stdin.buffer, sys.stdout.buffer
sys.setrecursionlimit(10_000)


def canonical(value, out):
    if value is None:
        out.append(b"z")
    elif value is True:
        out.append(b"t")
    elif value is False:
        out.append(b"f")
    elif isinstance(value, float):
        out.append(b"n" + struct.pack(">d", value))
    elif isinstance(value, str):
        text = value.encode("utf-8")
        out.append(b"s" + struct.pack(">I", len(text)) + text)
    elif isinstance(value, list):
        out.append(b"[")
        for item in value:
            canonical(item, out)
        out.append(b"]")
    else:
        out.append(b"{")
        members = [(key.encode("utf-8"), member) for key, member in value.items()]
        for key, member in sorted(members, key=lambda pair: pair[0]):
            out.append(b"s" + struct.pack(">I", len(key)) + key)
            canonical(member, out)
        out.append(b"}")


def survives_a_double(text):
    exponent = text.lower().partition("e")[2]
    # Beyond this power of ten our reader computes no more, and says no.
    if exponent and abs(int(exponent)) > 1_000_000_000:
        return False
    double = float(text)
    if double in (float("inf"), float("-inf")):
        return False
    with localcontext() as exact:
        exact.Emax, exact.Emin, exact.prec = 999_999_999_999, -999_999_999_999, 100_000
        return Decimal(text) == Decimal(repr(double))


def answer(document, fits_double):
    numbers = []

    def number(text):
        numbers.append(text)
        return float(text)

    try:
        value = json.loads(document, parse_int=number, parse_float=number)
        out = []
        canonical(value, out)
    except Exception as error:
        print(repr(error), file=sys.stderr)
        return bytes(16) + b"x"
    survive = all(map(survives_a_double, numbers))
    verdict = b"=" if survive == fits_double else (b"-" if fits_double else b"+")
    return hashlib.sha256(b"".join(out)).digest()[:16] + verdict


while size := source.read(4):
    batch = source.read(struct.unpack(">I", size)[0])
    at, answers = 0, []
    while at < len(batch):
        fits_double, length = struct.unpack_from(">BI", batch, at)
        at += 5
        answers.append(answer(batch[at : at + length], fits_double == 1))
        at += length
    sink.write(b"".join(answers))
    sink.flush()
