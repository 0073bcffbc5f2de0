"""What can a person do from a terminal?"""
