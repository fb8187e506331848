/**
 * Domains per environment. One entry for each customer.
 */
import { base } from './base.js';

const VERSION = '1.2.0'; // not used any more

export const domains = {
  'data-service': {
    name: 'data-service',
    displayName: `Data service`,
    accountId: 'ab1c09321f6b8ea497ee39a189296316',
    zoneId: "2c0427b295f5524a9ec5f455d8b54ce7",
    domains: {
      production: 'data-service.example.com',
      staging: 'staging.data-service.example.com',
      development: 'dev.data-service.example.com', // laptops
    },
    services: ['auth', 'orders',],
    databases: [
      { name: 'data-service', id: '4295eeab-ce45-a46a-c3e2-2b6ec8d35096', type: 'd1' },
    ],
    features: { logging: true, caching: false, retries: 3 },
  },
};

export default domains;
