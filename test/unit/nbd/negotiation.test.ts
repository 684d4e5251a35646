import t from 'tap';

import { DaxdError } from '../../../src/lib/errno.js';
import type { ExportDirectory, OpenExport } from '../../../src/nbd/export.js';
import { Negotiation, type TlsState } from '../../../src/nbd/negotiation.js';
import { NbdOpt, NbdRep } from '../../../src/nbd/protocol.js';

const EXPORT: OpenExport = {
  info: {
    name: 'pmem0p1',
    description: 'label "a", 8192 bytes',
    sizeBytes: 8192,
    readOnly: false,
    contexts: ['base:allocation', 'daxd:lease'],
  },
  memory: {
    path: '/x',
    address: 4096,
    length: 1 << 20,
    fd: -1,
    kind: 'file',
    persistence: 'none',
    sparse: false,
    readOnly: false,
  },
  start: 4096,
  pages: undefined,
};

function find(name: string): OpenExport {
  if (name === 'mounted') throw new DaxdError('EBUSY', 'mounted is in use by the ext4');
  if (name !== '' && name !== 'pmem0p1') throw new DaxdError('ENOENT', `no export "${name}"`);
  return EXPORT;
}

function setUp(tls: TlsState = 'absent'): { negotiation: Negotiation; opened: string[] } {
  const opened: string[] = [];
  const directory: ExportDirectory = {
    list: () => [EXPORT.info],
    describe: (name) => find(name).info,
    open: (name) => {
      opened.push(name);
      return find(name);
    },
  };
  return { negotiation: new Negotiation(directory, tls), opened };
}

/** Types of the replies in a buffer. */
function types(reply: Buffer): number[] {
  const found: number[] = [];
  for (let at = 0; at < reply.length; at += 20 + reply.readUInt32BE(at + 16)) {
    found.push(reply.readUInt32BE(at + 12));
  }
  return found;
}

function named(name: string, ...wanted: number[]): Buffer {
  const bytes = Buffer.alloc(4 + Buffer.byteLength(name) + 2 + wanted.length * 2);
  bytes.writeUInt32BE(Buffer.byteLength(name), 0);
  bytes.write(name, 4);
  bytes.writeUInt16BE(wanted.length, bytes.length - 2 - wanted.length * 2);
  for (const [i, type] of wanted.entries()) {
    bytes.writeUInt16BE(type, bytes.length - (wanted.length - i) * 2);
  }
  return bytes;
}

function queried(name: string, ...queries: string[]): Buffer {
  const parts = [name, '', ...queries].map((text, i) => {
    const bytes = Buffer.alloc(i === 1 ? 4 : 4 + text.length);
    bytes.writeUInt32BE(i === 1 ? queries.length : text.length, 0);
    bytes.write(text, 4);
    return bytes;
  });
  return Buffer.concat(parts);
}

function contextsOf(step: ReturnType<Negotiation['option']>): unknown {
  return step.next === 'transmission' ? step.session.contexts : undefined;
}

const NOTHING = Buffer.alloc(0);

t.test('option: GO tells size and flags, and begins transmission', async (t) => {
  const { negotiation } = setUp();
  const step = negotiation.option(NbdOpt.Go, named('pmem0p1', 1, 2, 3));
  t.strictSame(types(step.reply), [3, 3, 3, 3, NbdRep.Ack]);
  t.match(step, { next: 'transmission', session: { style: 'simple' } });
  t.strictSame(contextsOf(step), []);
});

t.test('option: an export that is not to be had leaves the handshake where it is', async (t) => {
  const { negotiation } = setUp();
  const unknown = negotiation.option(NbdOpt.Go, named('x'));
  t.strictSame([unknown.next, types(unknown.reply)], ['option', [NbdRep.ErrUnknown]]);
  const mounted = negotiation.option(NbdOpt.Info, named('mounted'));
  t.strictSame([mounted.next, types(mounted.reply)], ['option', [NbdRep.ErrPolicy]]);
  t.match(mounted.reply.toString('latin1'), /ext4/);
  t.equal(negotiation.option(NbdOpt.ExportName, Buffer.from('x')).next, 'close');
});

t.test('option: lengths that do not fit are invalid, and nothing is opened', async (t) => {
  const { negotiation, opened } = setUp();
  const whole = named('pmem0p1', 3);
  for (let length = 0; length < whole.length; length++) {
    const { next, reply } = negotiation.option(NbdOpt.Go, whole.subarray(0, length));
    t.strictSame([next, types(reply)], ['option', [NbdRep.ErrInvalid]], `${length} bytes`);
  }
  const more = Buffer.concat([whole, Buffer.alloc(1)]);
  t.strictSame(types(negotiation.option(NbdOpt.Go, more).reply), [NbdRep.ErrInvalid]);
  t.strictSame(opened, []);
});

t.test('option: contexts need chunks, and a failed choice forgets the one before', async (t) => {
  const { negotiation } = setUp();
  const chosen = queried('pmem0p1', 'base:allocation', 'x-other:thing');
  const early = negotiation.option(NbdOpt.SetMetaContext, chosen);
  t.strictSame(types(early.reply), [NbdRep.ErrInvalid]);
  t.strictSame(types(negotiation.option(NbdOpt.StructuredReply, NOTHING).reply), [NbdRep.Ack]);
  const set = negotiation.option(NbdOpt.SetMetaContext, chosen);
  t.strictSame(types(set.reply), [NbdRep.MetaContext, NbdRep.Ack]);
  negotiation.option(NbdOpt.SetMetaContext, queried('x', 'base:allocation'));
  const step = negotiation.option(NbdOpt.Go, named(''));
  t.match(step, { next: 'transmission', session: { style: 'structured' } });
  t.strictSame(contextsOf(step), []);
});

t.test('option: a listing knows wildcards, a choice does not', async (t) => {
  const { negotiation } = setUp();
  negotiation.option(NbdOpt.ExtendedHeaders, NOTHING);
  const list = (...queries: string[]): number =>
    types(negotiation.option(NbdOpt.ListMetaContext, queried('', ...queries)).reply).length - 1;
  t.equal(list(), 2, 'without a query everything');
  t.equal(list('base:'), 1);
  t.equal(list('daxd:lease', 'base:'), 2);
  t.equal(list('base:other'), 0);
  const set = negotiation.option(NbdOpt.SetMetaContext, queried('', 'daxd:'));
  t.strictSame(types(set.reply), [NbdRep.Ack]);
});

t.test('option: extended headers hold, and EXPORT_NAME ends with them', async (t) => {
  const { negotiation } = setUp();
  negotiation.option(NbdOpt.StructuredReply, NOTHING);
  t.strictSame(types(negotiation.option(NbdOpt.ExtendedHeaders, NOTHING).reply), [NbdRep.Ack]);
  t.strictSame(types(negotiation.option(NbdOpt.StructuredReply, NOTHING).reply), [
    NbdRep.ErrExtHeaderReqd,
  ]);
  t.equal(negotiation.option(NbdOpt.ExportName, Buffer.from('pmem0p1')).next, 'close');
});

t.test('option: before TLS that is required nothing else is answered', async (t) => {
  const { negotiation, opened } = setUp('required');
  for (const option of [NbdOpt.List, NbdOpt.Info, NbdOpt.Go, NbdOpt.StructuredReply, 77]) {
    t.strictSame(types(negotiation.option(option, NOTHING).reply), [NbdRep.ErrTlsReqd]);
  }
  t.equal(negotiation.option(NbdOpt.ExportName, NOTHING).next, 'close');
  t.equal(negotiation.option(NbdOpt.StartTls, NOTHING).next, 'tls');
  t.strictSame(opened, []);
});

t.test('secured: what was negotiated before TLS does not count', async (t) => {
  const { negotiation } = setUp('offered');
  t.ok(negotiation.acceptFlags(3));
  negotiation.option(NbdOpt.StructuredReply, NOTHING);
  const secured = negotiation.secured();
  t.strictSame(types(secured.option(NbdOpt.StartTls, NOTHING).reply), [NbdRep.ErrInvalid]);
  t.match(secured.option(NbdOpt.Go, named('')), { session: { style: 'simple' } });
  t.equal(secured.option(NbdOpt.ExportName, NOTHING).reply.length, 10, 'no padding, as agreed');
});

t.test('acceptFlags: a flag that nobody knows is refused', async (t) => {
  const { negotiation } = setUp();
  t.notOk(negotiation.acceptFlags(4));
  t.ok(negotiation.acceptFlags(1));
  t.equal(negotiation.option(NbdOpt.ExportName, NOTHING).reply.length, 134, 'with padding');
});
