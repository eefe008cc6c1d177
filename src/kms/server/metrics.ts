/** What Prometheus may know of the network face: counts and times, by protocol and operation, never by key or caller. */

import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

const BUCKETS_S = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10];

export class FaceMetrics {
  readonly registry = new Registry();
  readonly #requests = new Counter({
    name: 'sealdisk_kms_requests_total',
    help: 'Requests answered',
    labelNames: ['protocol', 'operation', 'status'],
    registers: [this.registry],
  });
  readonly #seconds = new Histogram({
    name: 'sealdisk_kms_request_seconds',
    help: 'Time from a whole request to its reply',
    labelNames: ['protocol', 'operation'],
    buckets: BUCKETS_S,
    registers: [this.registry],
  });
  readonly #inFlight = new Gauge({
    name: 'sealdisk_kms_requests_in_flight',
    help: 'Requests being answered',
    registers: [this.registry],
  });
  readonly #throttled = new Counter({
    name: 'sealdisk_kms_requests_throttled_total',
    help: 'Requests refused because their access key calls too often',
    registers: [this.registry],
  });
  readonly #refused = new Counter({
    name: 'sealdisk_kms_requests_refused_total',
    help: 'Requests cut or refused before anything was made of them: slow, too long, no HTTP',
    labelNames: ['status'],
    registers: [this.registry],
  });

  /** `connections` tells how many there are now. */
  constructor(connections: () => Promise<number>) {
    collectDefaultMetrics({ register: this.registry });
    new Gauge({
      name: 'sealdisk_kms_connections',
      help: 'Open connections',
      registers: [this.registry],
      async collect() {
        this.set(await connections());
      },
    });
  }

  begin(): void {
    this.#inFlight.inc();
  }

  end(protocol: string, operation: string, status: number, seconds: number): void {
    this.#inFlight.dec();
    this.#requests.inc({ protocol, operation, status });
    this.#seconds.observe({ protocol, operation }, seconds);
  }

  throttled(): void {
    this.#throttled.inc();
  }

  refused(status: number): void {
    this.#refused.inc({ status });
  }
}
