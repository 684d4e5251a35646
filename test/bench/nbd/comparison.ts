import type { Cell } from './cells.js';
import type { Sample, Series } from './rounds.js';
import { FLOOR } from './floor.js';
import { OURS } from './servers.js';
import { median, medianInterval, type Interval } from './statistics.js';

/** What a cell says about daxd and its peers. */
export interface Comparison {
  readonly cell: Cell;
  /** Median rate by server, in the cell's unit. */
  readonly rates: ReadonlyMap<string, number>;
  /** CPU seconds by server for one `work` of the cell, over all rounds. */
  readonly cpu: ReadonlyMap<string, number>;
  readonly bestPeer: string;
  /** Median of the ratios to the best peer, one a round. */
  readonly ratio: number;
  readonly interval: Interval;
  /** The ratio, or 1 where the interval includes 1. */
  readonly counted: number;
  /** Likewise of the floor, where it was measured: about the highest ratio that there is. */
  readonly floorRatio: number | undefined;
  readonly thriftiestPeer: string;
  /** Our CPU time for one `work` by that of the thriftiest peer. */
  readonly cpuRatio: number;
}

/**
 * Compares a cell's series. The best peer is that with the highest median over all rounds, one
 * for the whole cell: the best of each round apart would be the luckiest of three, and would
 * charge us with the noise of the peers.
 */
export function compare(cell: Cell, series: readonly Series[]): Comparison {
  const own = series.filter((one) => one.cell === cell);
  const rates = new Map(own.map(({ server, samples }) => [server, median(samples.map(rateOf))]));
  const cpu = new Map(own.map(({ server, samples }) => [server, cpuPerWork(samples)]));
  const bestPeer = peerWith(rates, Math.max);
  const thriftiestPeer = peerWith(cpu, Math.min);
  const ratios = ratiosByRound(own, OURS, bestPeer);
  const ratio = median(ratios);
  const interval = medianInterval(ratios);
  const even = interval.low <= 1 && interval.high >= 1;
  return {
    cell,
    rates,
    cpu,
    bestPeer,
    ratio,
    interval,
    thriftiestPeer,
    counted: even ? 1 : ratio,
    floorRatio: rates.has(FLOOR) ? median(ratiosByRound(own, FLOOR, bestPeer)) : undefined,
    cpuRatio: of(cpu, OURS) / of(cpu, thriftiestPeer),
  };
}

/** @throws Error when nobody of that name was measured. */
export function of(values: ReadonlyMap<string, number>, server: string): number {
  const value = values.get(server);
  if (value === undefined) throw new Error(`${server} was not measured`);
  return value;
}

function rateOf({ rate }: Sample): number {
  return rate;
}

function cpuPerWork(samples: readonly Sample[]): number {
  const cpuSeconds = samples.reduce((sum, sample) => sum + sample.cpuSeconds, 0);
  return cpuSeconds / samples.reduce((sum, { work }) => sum + work, 0);
}

function peerWith(values: ReadonlyMap<string, number>, choose: typeof Math.max): string {
  const peers = [...values].filter(([server]) => server !== OURS && server !== FLOOR);
  const chosen = choose(...peers.map(([, value]) => value));
  return peers.find(([, value]) => value === chosen)?.[0] ?? '';
}

function ratiosByRound(series: readonly Series[], one: string, peer: string): number[] {
  const samplesOf = (server: string): readonly Sample[] =>
    series.find((own) => own.server === server)?.samples ?? [];
  const theirs = samplesOf(peer);
  return samplesOf(one).map(({ rate }, round) => rate / (theirs[round]?.rate ?? Number.NaN));
}
