/** Rows of src/, lowest first. A layer may import itself and the rows below its own: docs/architecture.md. */
const rows = [
  ['lib'],
  ['base', 'media'],
  ['mm', 'block'],
  ['dax'],
  ['nvdimm'],
  ['fs'],
  ['lease'],
  ['http', 'nbd', 'telemetry'],
  ['daemon', 'client'],
  ['cli'],
];

/** Packages that one place alone may import. */
const owners = {
  'mmap-io': 'src/media/mmap-io\\.ts',
  koffi: 'src/(media/|nbd/socket-calls\\.ts)',
  '@node-rs/crc32': 'src/lib/crc32c\\.ts',
  gpt: 'src/block/',
  'fastify|@fastify/[^/]+': 'src/http/',
  typebox: 'src/(http|config)/',
  'prom-client': 'src/telemetry/',
  commander: 'src/cli/',
  lmdb: 'src/lease/lmdb/lmdb-(store|operations|records|remembered|self|writes)\\.ts',
};

/** Layers that read the configuration; the others get what they need as arguments. */
const configReaders = ['daemon', 'cli'];

const layerRules = rows.flatMap((row, depth) =>
  row.map((layer) => {
    const lower = rows.slice(0, depth).flat();
    const reads = [...lower, layer, ...(configReaders.includes(layer) ? ['config'] : [])];
    return {
      name: `layer-${layer}`,
      severity: 'error',
      from: { path: `^src/${layer}/` },
      to: { path: '^src/', pathNot: `^src/(${reads.join('|')})/` },
    };
  }),
);

const ownerRules = Object.entries(owners).map(([name, owner]) => ({
  name: `owner-${name.split('|')[0]}`,
  severity: 'error',
  from: { path: '^src/', pathNot: `^${owner}` },
  to: { path: `node_modules/(${name})/` },
}));

module.exports = {
  forbidden: [
    ...layerRules,
    ...ownerRules,
    {
      name: 'layer-config',
      severity: 'error',
      from: { path: '^src/config/' },
      to: { path: '^src/', pathNot: '^src/(lib|config)/' },
    },
    {
      name: 'sockets',
      comment: 'Sockets belong to the front ends, and to those who talk to them.',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/(http|nbd|cli|client)/|^src/lib/listen\\.ts' },
      to: { path: '^(node:)?(net|http|https|tls)$' },
    },
    {
      name: 'client-apart',
      comment:
        'A client is no part of the daemon: it shares a few words, and the mapping of what is lent.',
      severity: 'error',
      from: { path: '^src/client/' },
      to: { path: '^src/', pathNot: '^src/(client|lib)/|^src/media/lent-mapping\\.ts' },
    },
    {
      name: 'jbd2-below-ext4',
      comment: "A journal logs numbered blocks; what they hold is the filesystem's affair.",
      severity: 'error',
      from: { path: '^src/fs/jbd2/' },
      to: { path: '^src/fs/ext4/' },
    },
    { name: 'no-cycles', severity: 'error', from: {}, to: { circular: true } },
    { name: 'no-orphans', severity: 'error', from: { orphan: true, path: '^src/' }, to: {} },
    { name: 'src-not-test', severity: 'error', from: { path: '^src/' }, to: { path: '^test/' } },
  ],
  options: {
    tsConfig: { fileName: 'tsconfig.json' },
    tsPreCompilationDeps: true,
    doNotFollow: { path: 'node_modules' },
    enhancedResolveOptions: {
      conditionNames: ['import', 'types', 'node', 'default'],
      exportsFields: ['exports'],
    },
  },
};
