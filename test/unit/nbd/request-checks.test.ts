import t from 'tap';

import { NbdCmd, NbdCmdFlag, NbdError, type ReplyStyle } from '../../../src/nbd/protocol.js';
import { Request } from '../../../src/nbd/request.js';
import { refusalOf } from '../../../src/nbd/request-checks.js';

const SIZE = 64 * 1024 * 1024;
const MIB32 = 32 * 1024 * 1024;

interface Asked {
  readonly type: number;
  readonly flags?: number;
  readonly offset?: bigint;
  readonly length?: bigint;
}

interface Rules {
  readonly style?: ReplyStyle;
  readonly readOnly?: boolean;
  readonly hasContexts?: boolean;
}

function requestOf(asked: Asked, extended = false): Request {
  const { type, flags = 0, offset = 0n, length = 4096n } = asked;
  const view = new DataView(new ArrayBuffer(32));
  view.setUint32(0, extended ? 0x21e41c71 : 0x25609513);
  view.setUint16(4, flags);
  view.setUint16(6, type);
  view.setBigUint64(8, 0x0102030405060708n);
  view.setBigUint64(16, offset);
  if (extended) view.setBigUint64(24, length);
  else view.setUint32(24, Number(length));
  const request = new Request(extended ? 'extended' : 'structured');
  t.ok(request.decode(view, 0));
  return request;
}

function refusal(asked: Asked, rules: Rules = {}): NbdError {
  const { style = 'structured', readOnly = false, hasContexts = true } = rules;
  const request = requestOf(asked, style === 'extended');
  return refusalOf(request, { sizeBytes: SIZE, style, readOnly, hasContexts });
}

t.test('decode: the fields of both headers, and no other magic', async (t) => {
  const compact = requestOf({ type: 3, flags: 5, offset: 2n ** 40n + 7n, length: 9n });
  t.match(compact, { type: 3, flags: 5, offset: 2 ** 40 + 7, length: 9 });
  t.strictSame([compact.cookieHigh, compact.cookieLow], [0x01020304, 0x05060708]);
  const extended = requestOf({ type: 6, length: 2n ** 45n }, true);
  t.equal(extended.length, 2 ** 45);
  t.notOk(new Request('simple').decode(new DataView(new ArrayBuffer(32)), 0));
});

t.test('refusalOf: past the end, also where numbers are no longer exact', async (t) => {
  for (const offset of [BigInt(SIZE), BigInt(SIZE) - 1n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n]) {
    for (const type of [NbdCmd.Read, NbdCmd.Trim, NbdCmd.Cache, NbdCmd.BlockStatus]) {
      t.equal(refusal({ type, offset }), NbdError.EINVAL, `${type} at ${offset}`);
    }
    for (const type of [NbdCmd.Write, NbdCmd.WriteZeroes]) {
      t.equal(refusal({ type, offset }), NbdError.ENOSPC, `${type} at ${offset}`);
    }
  }
  const last = { type: NbdCmd.Read, offset: BigInt(SIZE) - 4096n };
  t.equal(refusal(last), NbdError.None, 'the last page is inside');
  const lengths = { type: NbdCmd.WriteZeroes, length: 2n ** 64n - 1n };
  t.equal(refusal(lengths, { style: 'extended' }), NbdError.ENOSPC);
});

t.test('refusalOf: flags count where they are documented', async (t) => {
  const { Fua, NoHole, Df, ReqOne, FastZero, PayloadLen } = NbdCmdFlag;
  const allowed = new Map<number, number>([
    [NbdCmd.Read, Fua | Df],
    [NbdCmd.Write, Fua],
    [NbdCmd.Flush, Fua],
    [NbdCmd.Trim, Fua],
    [NbdCmd.Cache, Fua],
    [NbdCmd.WriteZeroes, Fua | NoHole | FastZero],
    [NbdCmd.BlockStatus, Fua | ReqOne],
  ]);
  for (const [type, mask] of allowed) {
    for (const flags of [Fua, NoHole, Df, ReqOne, FastZero, PayloadLen, 64, 2 ** 15]) {
      const expected = (flags & mask) === flags ? NbdError.None : NbdError.EINVAL;
      t.equal(refusal({ type, flags }), expected, `command ${type}, flag ${flags}`);
    }
  }
  t.equal(refusal({ type: NbdCmd.Read, flags: Df }, { style: 'simple' }), NbdError.EINVAL);
});

t.test('refusalOf: payloads, by what was agreed', async (t) => {
  const write = { type: NbdCmd.Write };
  t.equal(refusal(write, { style: 'extended' }), NbdError.EINVAL, 'without the flag');
  const flagged = { ...write, flags: NbdCmdFlag.PayloadLen };
  t.equal(refusal(flagged, { style: 'extended' }), NbdError.None);
  const odd = { type: NbdCmd.Trim, flags: NbdCmdFlag.PayloadLen };
  t.equal(refusal(odd, { style: 'extended' }), NbdError.EINVAL);
  t.equal(requestOf(odd, true).payloadBytes, 4096, 'what follows it is still to be read');
  t.equal(requestOf({ type: NbdCmd.Trim }).payloadBytes, 0);
});

t.test('refusalOf: too long, read-only, unknown, and nothing to report', async (t) => {
  const long = BigInt(MIB32 + 1);
  t.equal(refusal({ type: NbdCmd.Read, length: long }), NbdError.EINVAL);
  const unfragmented = { type: NbdCmd.Read, length: long, flags: NbdCmdFlag.Df };
  t.equal(refusal(unfragmented), NbdError.EOVERFLOW);
  t.equal(refusal({ type: NbdCmd.Write, length: long }), NbdError.EINVAL);
  t.equal(refusal({ type: NbdCmd.Read, length: BigInt(MIB32) }), NbdError.None);
  for (const type of [NbdCmd.Write, NbdCmd.Trim, NbdCmd.WriteZeroes]) {
    t.equal(refusal({ type }, { readOnly: true }), NbdError.EPERM);
  }
  t.equal(refusal({ type: NbdCmd.Read }, { readOnly: true }), NbdError.None);
  for (const type of [8, 9, 65_535]) t.equal(refusal({ type }), NbdError.EINVAL);
  t.equal(refusal({ type: NbdCmd.BlockStatus }, { hasContexts: false }), NbdError.EINVAL);
  t.equal(refusal({ type: NbdCmd.BlockStatus, length: 0n }), NbdError.EINVAL);
  t.equal(refusal({ type: NbdCmd.Read, length: 0n }), NbdError.None);
});
