/** The package's types. What runs is verbatim.js. */

export * from './verbatim.js';
export type * from './shapes.js';
