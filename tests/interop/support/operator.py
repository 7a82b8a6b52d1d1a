"""A client of the operator's routes: secrets of all projects, without their payloads."""

import requests

from .native import Keys, expect

SECRETS = '/v1/operator/secrets'


class Operator(Keys):
    """`/v1/operator/secrets` as one user sees it."""

    def page(self, query: str = '') -> requests.Response:
        return self.call('GET', f'{SECRETS}?{query}' if query else SECRETS)

    def show(self, secret_id: str) -> requests.Response:
        return self.call('GET', f'{SECRETS}/{secret_id}')

    def take_back(self, secret_id: str) -> requests.Response:
        """Undeletes a secret, whoever deleted it."""
        return self.call('POST', f'{SECRETS}/{secret_id}/undelete')

    def purge(self, secret_id: str) -> requests.Response:
        return self.call('POST', f'{SECRETS}/{secret_id}/purge')

    def answers(self, query: str = '') -> list[requests.Response]:
        """The listing, page by page, following its links."""
        answers = [self.page(query)]
        while (link := expect(answers[-1], 200)['links'].get('next')) is not None:
            answers.append(self.call('GET', link))
            assert len(answers) < 10_000, 'the listing does not end'
        return answers

    def ids(self, query: str = '') -> list[str]:
        """The ids of all that is listed."""
        return [secret['id'] for answer in self.answers(query) for secret in answer.json()['secrets']]
