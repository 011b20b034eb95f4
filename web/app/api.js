/** The server, for pages: with the tab's token. */

import { Api } from '../client/api.js';
import { takeToken } from './identity.js';

export const api = new Api({ token: takeToken() });
