/** The typed client of PMP: openapi-fetch with safe repetition and paging. */
import createClient, { type Client } from "openapi-fetch";
import type { components, paths } from "./schema.js";

export type { components, paths };
export type Problem = components["schemas"]["Problem"];

export interface Options {
  /** Base URL of the API. */
  url: string;
  /** An access token, or a function that returns one for each request. */
  token: string | (() => string | Promise<string>);
  /** At most so many requests for one call; 5 by default. */
  attempts?: number;
}

const REPEATED = new Set([429, 502, 503, 504]);

/**
 * Returns a client that repeats what a later attempt may get: connections that break, and answers 429, 502, 503 and 504,
 * after the time in Retry-After, else after 0.5 seconds, doubled each time. Every POST gets an Idempotency-Key, unless it
 * has one, so that a repeated request is performed once.
 */
export function connect({ url, token, attempts = 5 }: Options): Client<paths> {
  const client = createClient<paths>({ baseUrl: url, fetch: (request: Request) => repeated(request, attempts) });
  client.use({
    async onRequest({ request }) {
      request.headers.set("Authorization", `Bearer ${typeof token === "string" ? token : await token()}`);
      if (request.method === "POST" && !request.headers.has("Idempotency-Key")) {
        request.headers.set("Idempotency-Key", crypto.randomUUID());
      }
      return request;
    },
  });
  return client;
}

async function repeated(request: Request, attempts: number): Promise<Response> {
  for (let attempt = 1; ; attempt++) {
    let wait = 500 * 2 ** (attempt - 1);
    try {
      const response = await fetch(request.clone());
      if (attempt === attempts || !REPEATED.has(response.status)) return response;
      wait = 1000 * Number(response.headers.get("Retry-After") ?? wait / 1000);
    } catch (error) {
      if (attempt === attempts || request.signal.aborted) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}

interface Page<Item> {
  items: Item[];
  next: string | null;
}

/**
 * Yields the items of all pages of a list:
 *
 *     for await (const event of every((cursor) => api.GET("/v1/events", { params: { query: { cursor } } }))) …
 *
 * Throws the problem document that the API answers instead of a page.
 */
export async function* every<Item>(
  page: (cursor?: string) => Promise<{ data?: Page<Item>; error?: unknown }>,
): AsyncGenerator<Item> {
  for (let cursor: string | undefined; ; ) {
    const { data, error } = await page(cursor);
    if (!data) throw error;
    yield* data.items;
    if (data.next === null) return;
    cursor = data.next;
  }
}
