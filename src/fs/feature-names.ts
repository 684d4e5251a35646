/** What the bits of a word of features are called: by bit, from 0 on. */
export interface FeatureWord {
  /** For bits without a name: `C` for compatible ones, `I` for incompatible, `R` for read-only compatible. */
  readonly letter: 'C' | 'I' | 'R';
  readonly names: Readonly<Record<number, string>>;
}

/** The names of some features as e2fsprogs shows them, a bit without one as `FEATURE_I31`. */
export function featureNames(bits: number, { letter, names }: FeatureWord): string {
  const set = Array.from({ length: 32 }, (_, bit) => bit).filter((bit) => (bits >>> bit) % 2 === 1);
  return set.map((bit) => names[bit] ?? `FEATURE_${letter}${bit}`).join(' ');
}
